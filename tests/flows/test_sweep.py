import os
from pathlib import Path

import pytest

from dti.errors import DtiError
from dti.home import ROOT
from flows import runs, sweep
from flows.parameters import read_values
from flows.result import Result
from flows.sweep import Child, _row, _try_all, cells_of, winner_of

OVER = {"pack": {"k": [5, "all"]}, "train": {"seed": [1, 2]}}


@pytest.fixture(scope="module")
def base():
    return read_values(ROOT)


def child(cell, valid, test=0.5, folder=Path()):
    return Child(cell, Result({"valid_auc": valid, "auc": test}, "run", "1", "link", folder))


def test_the_cells_are_all_combinations_on_the_values_of_the_form(base):
    cells = cells_of(base, "try this", {"train": {"epochs": 1}}, OVER)
    assert [cell.name for cell in cells] == [f"try-this k={k} seed={seed}" for k in (5, "all") for seed in (1, 2)]
    assert all(cell.parameters["train"]["epochs"] == 1 for cell in cells)
    assert [cell.parameters["pack"]["k"] for cell in cells] == [5, 5, "all", "all"]


def test_an_empty_grid_is_one_cell(base):
    assert len(cells_of(base, "one", {}, {})) == 1


def test_wrong_cells_are_refused_before_any_run(base):
    with pytest.raises(DtiError, match="pack.k: 0 is less than the minimum of 1"):
        cells_of(base, "x", {}, {"pack": {"k": [5, 0]}})
    with pytest.raises(DtiError, match="params.yaml has no parameter 'pack.kk'"):
        cells_of(base, "x", {}, {"pack": {"kk": [5]}})
    with pytest.raises(DtiError, match="the form:\n  groups.0.over.pack.k: Input should be a valid list"):
        cells_of(base, "x", {}, {"pack": {"k": 5}})


def test_the_winner_is_the_best_on_validation_whatever_the_test_says(base):
    cells = cells_of(base, "x", {}, OVER)
    children = [child(cells[0], 0.7, test=0.9), child(cells[1], 0.8, test=0.6), child(cells[2], None)]
    winner = winner_of(children)
    assert winner is children[1]
    rows = [_row(cell, children, winner) for cell in cells]
    assert [row["outcome"] for row in rows] == ["done", "winner", "done", "failed"]
    assert rows[1]["validation AUC"] == 0.8
    assert winner_of([children[2]]) is None


def test_no_cell_registers_its_result(base, monkeypatch):
    seen = []

    class Failed:
        name, message = "Failed", "no"

        def is_completed(self):
            return False

    class Log:
        def error(self, *words):
            seen.append(words[1])

    def run_cell(name, parameters, return_state):
        seen.append(parameters["track"]["register"])
        return Failed()

    monkeypatch.setattr(sweep.run_cell, "with_options", lambda flow_run_name: run_cell)
    monkeypatch.setattr(sweep, "get_run_logger", Log)
    cells = cells_of(base, "x", {}, {"train": {"seed": [1]}})
    assert cells[0].parameters["track"]["register"] is True
    assert _try_all(cells) == []
    assert seen == [False, "x seed=1"]


@pytest.mark.parametrize("best", [0, 3])
def test_the_workspace_of_the_best_cell_outlives_all_prunings(base, home, monkeypatch, best):
    monkeypatch.setattr(runs, "KEPT", 2)
    cells = cells_of(base, "x", {}, {"train": {"seed": list(range(1, 9))}})

    def run(cell):
        number = cells.index(cell)
        with runs.workspace_of(f"run-{number}") as workspace:
            os.utime(workspace.folder, (1000 + number, 1000 + number))
        return child(cell, 0.9 if number == best else 0.5, folder=workspace.folder)

    monkeypatch.setattr(sweep, "_try", run)
    winner = winner_of(_try_all(cells))
    assert winner.result.folder.name == f"run-{best}"
    assert winner.result.folder.is_dir()
    assert len([path for path in runs.folder().iterdir() if path.is_dir()]) <= 3, "others are pruned"
