"""What torch.compile makes is found again by the next process, and rows of any length share it."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from dti.home import ROOT, home
from dti.model.device import keep_compiled
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts

COMPILING = """
import torch
from dti.model.device import keep_compiled
keep_compiled()
torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(8))
print(torch._dynamo.utils.counters["inductor"]["fxgraph_cache_hit"])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")}
    environment |= {"DTI_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COMPILING]
    hits = [
        int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        for _ in range(2)
    ]
    assert hits == [0, 1]
    assert any((tmp_path / "home" / "compiled").rglob("*.so"))


def test_a_folder_that_the_environment_names_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("DTI_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    assert keep_compiled() == "elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert keep_compiled() == str(home() / "compiled")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")


def test_rows_of_all_lengths_share_one_graph_for_each_part(ctr_model, store, monkeypatch):
    counter, whole = CompileCounter(), nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda part, **how: whole(part, backend=counter, **how))
    torch._dynamo.reset()
    model, graphs = ctr_model(), []
    model.compile_layers()
    prompts = stream_prompts(store, "train", 5)
    lengths = [build_row(store, prompts.take(slice(0, count))) for count in range(1, 7)]
    assert len({row.tokens_S.size for row in lengths}) == 6
    for row in lengths:
        model(row).sum().backward()
        graphs.append(counter.frame_count)
    assert graphs == 6 * [2 * 3], "two norms and a feed-forward block in each of two layers, compiled once"
    torch._dynamo.reset()
