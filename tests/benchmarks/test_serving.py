"""The serving benchmark, on small packed data; no speed is asserted."""

import numpy as np
import pytest

from benchmarks import serving
from dti.attention.visibility import Sight
from dti.home import ROOT
from dti.params import load_params
from dti.prompts.store import Store
from dti.training.flops import Shape

N = 3


@pytest.fixture
def packed(make_store):
    """A store of four users and twelve items."""
    rng = np.random.default_rng(1)
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(6)] for _ in range(4)]
    return make_store(histories, [f"lamp {number} red" for number in range(12)], n=N).folder


def test_both_ways_score_the_same_task(packed, tmp_path, monkeypatch):
    monkeypatch.setitem(serving.SIZES, "micro", Shape(1, 16, 2, 1, 32))
    store, params = Store.open(packed), load_params(ROOT / "params.yaml")
    task = serving.Task.draw(store, N, 5)
    assert (task.history.size, np.unique(task.candidates).size) == (N, 5)
    for name, sight in serving.SIGHTS.items():
        short = Sight(sight.policy, sight.probe_position, sight.context, N)
        bundle = serving.bundle_of(tmp_path / name, packed, params, "micro", short)
        found = serving.measure(bundle, store, task, 2, "cpu")
        assert found["gap"] < 1e-6
        assert 0 < found["low"] <= found["ratio"] <= found["high"]


def test_tasks_of_other_seeds_are_other_tasks(packed):
    store = Store.open(packed)
    first, again, other = (serving.Task.draw(store, N, 5, seed).request(store) for seed in (1, 1, 2))
    assert first == again
    assert first["candidates"] != other["candidates"]
