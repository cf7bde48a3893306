import pytest

from dti.errors import DtiError
from dti.home import ROOT
from flows.parameters import read_values
from flows.result import Result
from flows.sweep import Child, _row, cells_of, winner_of

OVER = {"pack": {"k": [5, "all"]}, "train": {"seed": [1, 2]}}


@pytest.fixture(scope="module")
def base():
    return read_values(ROOT)


def child(cell, valid, test=0.5):
    return Child(cell, Result({"valid_auc": valid, "auc": test}, "run", "1", "link"))


def test_the_cells_are_all_combinations_on_the_values_of_the_form(base):
    cells = cells_of(base, "try this", {"train": {"epochs": 1}}, OVER)
    assert [cell.name for cell in cells] == [f"try-this k={k} seed={seed}" for k in (5, "all") for seed in (1, 2)]
    assert all(cell.parameters["train"]["epochs"] == 1 for cell in cells)
    assert [cell.parameters["pack"]["k"] for cell in cells] == [5, 5, "all", "all"]


def test_an_empty_grid_is_one_cell(base):
    assert len(cells_of(base, "one", {}, {})) == 1


def test_wrong_cells_are_refused_before_any_run(base):
    with pytest.raises(DtiError, match="pack.k: Input should be greater than or equal to 1"):
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
    assert [row[""] for row in rows] == ["", "winner", "", "failed"]
    assert rows[1]["validation AUC"] == 0.8
    assert winner_of([children[2]]) is None
