"""A benchmark small enough for tests: a model of one layer, a dozen users."""

from functools import partial

import pytest

from benchmarks import paradigms
from benchmarks.workloads import SIZES, synthetic_store
from dti.files import read_json
from dti.training.flops import Shape

MICRO = Shape(1, 16, 2, 1, 32)
SHORT = ["--n", "3", "--targets", "20", "--rounds", "2", "--warmup", "1", "--seconds", "0.01", "--device", "cpu"]
SHORT += ["--history", "--contexts", "--no-memory"]


@pytest.fixture
def micro(monkeypatch):
    """Size tiny and the synthetic store are small."""
    monkeypatch.setitem(SIZES, "tiny", MICRO)
    monkeypatch.setattr(paradigms, "synthetic_store", partial(synthetic_store, users=12, items=60))


@pytest.fixture
def measured(micro, tmp_path):
    """``measured(*arguments)``: the content of --json after a run with these arguments, the last of a kind counts."""

    def run(*arguments):
        paradigms.main([*SHORT, *arguments, "--json", str(tmp_path / "result.json")])
        return read_json(tmp_path / "result.json")

    return run
