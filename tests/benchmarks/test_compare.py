"""One table of a sweep's configurations and of rivals, with differences by user on the same targets."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.rivals import compare
from dti.errors import DtiError
from dti.evaluation import metrics as m
from dti.files import write_json
from dti.sweep.command import sweep_of

USERS, EACH = 20, 15
GRID = {
    "name": "small",
    "threads": 1,
    "groups": [{"name": "isolated", "over": {"train.seed": [1, 2]}}, {"name": "sliding", "set": {"pack.k": 1}}],
}


def scores(skill, seed=0):
    """Labels and scores that know them by ``skill``; equal labels for every skill and seed."""
    label = np.random.default_rng(7).integers(2, size=USERS * EACH)
    noise = np.random.default_rng(seed).normal(0, 0.2, label.size)
    return label, np.clip(0.5 + skill * (label - 0.5) + noise, 0.01, 0.99)


CODE = {"commit": "c0ffee" * 5, "dirty": False}


def write(path, skill, kept=True, items=7, code=CODE, **changes):
    label, score = scores(skill, changes.get("seed", 1))
    user = np.repeat(np.arange(USERS), EACH)
    found = {
        "title": "Small",
        "test_targets": label.size,
        "auc": m.auc(label, score),
        "auc_low": 0.1,
        "auc_high": 0.9,
        "gauc": m.gauc(label, score, user),
        "log_loss": m.log_loss(label, score),
        "f1": 0.5,
        "ece": 0.1,
        "valid_auc": skill,
        **changes,
    }
    effort = {"training_hours": 0.5, "targets_per_second": 100.0, "device": "cpu", "threads": 1}
    if "model" in changes:
        write_json(path, {**found, **effort, "parameters": 10, "code": code})
    else:
        write_json(path, {"metrics": found, "train": effort | {"trained_parameters": 20}, "code": code})
    if kept:
        ids = {"user_id": [f"u{u}" for u in user], "item_id": [f"i{row % items}" for row in range(user.size)]}
        pq.write_table(pa.table(ids | {"label": label.astype(np.int8), "score": score}), path.with_suffix(".parquet"))


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(GRID))
    for cell in sweep_of(path).cells:
        skill = 0.3 if cell.group == "isolated" else 0.2
        write(tmp_path / "small" / f"{cell.slug}.json", skill, seed=cell.seed)
    return path


def table(grid, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare", str(grid)])
    compare.main()
    head, _, *lines = (grid.with_suffix("") / "rivals/table.md").read_text().split("\n\n")[0].splitlines()
    names = [name.strip() for name in head.strip("|").split("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {line[0]: dict(zip(names, line, strict=True)) for line in cells}


def test_a_rival_that_wins_is_said_to_win(grid, monkeypatch):
    folder = grid.with_suffix("") / "rivals"
    write(folder / "DIN-seed=1.json", 0.9, model="DIN", seed=1)
    write(folder / "popularity-seed=1.json", -0.2, model="popularity", seed=1, ece=0.01)
    found = table(grid, monkeypatch)
    assert list(found) == ["isolated", "sliding", "popularity", "DIN"]
    assert (found["isolated"]["seeds"], found["isolated"]["in words"]) == ("2", "ours")
    means = [m.auc(*scores(0.3, seed)) for seed in (1, 2)]
    assert found["isolated"]["test AUC [95 %, by user]"].startswith(f"{np.mean(means):.4f} [")
    assert found["DIN"]["minus ours [95 %]"].startswith("+0.")
    assert found["DIN"]["in words"].startswith("wins by AUC; wins by gAUC; better number: AUC")
    assert found["popularity"]["in words"] == "loses by AUC; loses by gAUC; better number: ECE"
    assert found["DIN"]["by"] == "B, c0ffeec, cpu, 1 thread"
    assert (folder / "table.csv").read_text().startswith("model,seeds,")


def test_without_scores_the_numbers_stand_alone(grid, monkeypatch):
    write(grid.with_suffix("") / "rivals/DIN-seed=1.json", 0.9, kept=False, model="DIN", seed=1)
    found = table(grid, monkeypatch)["DIN"]
    assert found["test AUC [95 %, by user]"].endswith("[0.1000, 0.9000]")
    assert "[" not in found["minus ours [95 %]"]
    assert found["in words"].startswith("no interval; better number: AUC")


def test_other_targets_and_missing_results_are_refused(grid, monkeypatch):
    with pytest.raises(DtiError, match="no results of the rivals"):
        table(grid, monkeypatch)
    write(grid.with_suffix("") / "rivals/DIN-seed=1.json", 0.9, items=6, model="DIN", seed=1)
    with pytest.raises(DtiError, match="score other test targets"):
        table(grid, monkeypatch)


def test_results_made_outside_git_have_no_commit(grid, monkeypatch):
    folder = grid.with_suffix("")
    for cell in sweep_of(grid).cells:
        write(folder / f"{cell.slug}.json", 0.3, seed=cell.seed, code={"commit": None, "dirty": None})
    write(folder / "rivals/DIN-seed=1.json", 0.9, model="DIN", seed=1, code=None)
    found = table(grid, monkeypatch)
    assert (found["isolated"]["by"], found["DIN"]["by"]) == ("A, -, cpu, 1 thread", "B, -, cpu, 1 thread")
