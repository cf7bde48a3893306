"""What torch.compile makes is found again by the next process, and rows of any length share it."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
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


def graphs_of(ctr_model, store, layers):
    """How many graphs are compiled up to each of six rows of other lengths."""
    torch._dynamo.reset()
    counter = CompileCounter()
    with pytest.MonkeyPatch.context() as patch:
        real = torch.compile  # which Module.compile calls, too
        patch.setattr(torch, "compile", lambda part, **how: real(part, backend=counter, **how))
        model, graphs = ctr_model(layers=layers), []
        model.compile_layers()
    prompts = stream_prompts(store, "train", 5)
    lengths = [build_row(store, prompts.take(slice(0, count))) for count in range(2, 8)]
    assert len({row.tokens_S.size for row in lengths}) == 6
    for row in lengths:
        model(row).sum().backward()
        graphs.append(counter.frame_count)
    torch._dynamo.reset()
    return graphs


def test_rows_of_all_lengths_and_all_layers_share_their_graphs(ctr_model, store):
    few, many = (graphs_of(ctr_model, store, layers) for layers in (3, 6))
    assert few == many == 6 * [few[0]]
    assert 4 <= few[0] <= 16, "a norm, projections, the rotation and a feed-forward block, for a few layouts of tensors"
