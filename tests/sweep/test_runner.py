import argparse

import pytest
import yaml

from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.sweep import command
from dti.sweep.results import place_of
from dti.sweep.runner import run_cells
from dti.workspace import Workspace


def run(write_grid, **options):
    chosen = {"results": None, "only": "", "hours": None, "list": False, "table": False, "baseline": None}
    command.run(argparse.Namespace(grid=write_grid(), **chosen | options))


def slugs(sweep):
    return [cell.slug for cell in sweep.cells]


def test_every_cell_leaves_a_result_and_no_workspace(sweep, stub):
    outcome = run_cells(sweep)
    assert stub.ran == slugs(sweep)
    assert outcome.done == [cell.name for cell in sweep.cells]
    assert stub.environment == {"OMP_NUM_THREADS": "1"}
    result = read_json(sweep.results / "isolated-k=all-seed=2.json")
    assert (result["cell"], result["group"], result["seed"]) == ("isolated k=all seed=2", "isolated", 2)
    assert result["params"] == {"train.epochs": 1, "pack.k": "all", "train.seed": 2}
    assert result["parameters"]["pack"]["k"] == "all"
    assert result["pack"] == {"tokens_per_target": 9.5, "sliding_tokens_per_target": 99.0, "counted_ratio": 10.4}
    assert set(result["code"]) == {"commit", "dirty"}
    assert result["parity"]["max_abs_logit_gap"]["all"] == 0.006
    assert len(result["test"]["draws"]) == 1000
    assert [path.name for path in sweep.work.iterdir() if path.is_dir()] == ["results"]


def test_a_workspace_has_its_own_parameters_and_the_shared_cache(sweep, stub):
    stub.trouble["window-seed=2"] = DtiError("stop")
    run_cells(sweep, only="window")
    folder = sweep.work / "window-seed=2"
    assert yaml.safe_load((folder / "params.yaml").read_text()) == sweep.cells[1].parameters
    local = (folder / ".dvc/config.local").read_text()
    assert "no_scm = true" in local
    assert f"dir = {Workspace(folder).cache}" in local
    assert (folder / "dti/workspace.py").is_file()
    assert not list(folder.rglob("__pycache__"))


def test_a_failed_cell_stops_no_other_and_is_tried_again(write_grid, sweep, stub, capsys):
    stub.trouble["isolated-k=5-seed=1"] = DtiError("exit code 1; see log.txt")
    with pytest.raises(DtiError, match="failed cells: 1\n  isolated k=5 seed=1: exit code 1; see log.txt"):
        run(write_grid)
    assert stub.ran == slugs(sweep)
    assert "| isolated k=5 " in capsys.readouterr().out
    stub.trouble.clear()
    run(write_grid)
    assert stub.ran == [*slugs(sweep), "isolated-k=5-seed=1"]


def test_an_interrupted_cell_goes_on_in_its_workspace(write_grid, sweep, stub, capsys):
    stub.trouble["window-seed=2"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_cells(sweep)
    run(write_grid, list=True)
    assert capsys.readouterr().out.splitlines()[-7:-3] == [
        "done       window seed=1",
        "half-done  window seed=2",
        "to do      isolated k=5 seed=1",
        "to do      isolated k=5 seed=2",
    ]
    assert (sweep.work / "window-seed=2/begun").is_file()
    stub.trouble.clear()
    assert len(run_cells(sweep).done) == 5
    assert stub.ran.count("window-seed=1") == 1


def test_a_cell_that_another_runner_holds_is_left_to_it(sweep, stub):
    with Workspace(sweep.work / "window-seed=2").held() as mine:
        assert mine
        outcome = run_cells(sweep)
    assert outcome.taken == ["window seed=2"]
    assert len(outcome.done) == 5


def test_only_some_cells_and_only_in_time(write_grid, sweep, stub):
    assert run_cells(sweep, only="k=all").done == ["isolated k=all seed=1", "isolated k=all seed=2"]
    assert len(run_cells(sweep, hours=0).left) == 4
    assert len(stub.ran) == 2
    with pytest.raises(DtiError, match="--only 'nothing': no cell"):
        run(write_grid, only="nothing")


def test_a_result_of_other_parameters_is_refused_before_anything_runs(write_grid, sweep, stub):
    run_cells(sweep, only="k=all")
    path = place_of(sweep.results, sweep.cells[-1])
    changed = command.sweep_of(write_grid(set={"train.epochs": 2}))
    with pytest.raises(DtiError, match=r"isolated-k=all-seed=1.json: .*train.epochs 1, now 2"):
        run_cells(changed)
    with pytest.raises(DtiError, match="other parameters"):
        command._tabulate(changed)
    assert len(stub.ran) == 2
    write_json(path, {"a": 1})
    with pytest.raises(DtiError, match="not a result of a sweep"):
        run_cells(sweep)


def test_a_new_parameter_of_the_project_does_not_invalidate_results(sweep, stub):
    run_cells(sweep)
    path = place_of(sweep.results, sweep.cells[0])
    result = read_json(path)
    del result["parameters"]["data"]["users"]
    result["parameters"]["track"]["experiment"] = "other"
    write_json(path, result)
    assert run_cells(sweep).done == []


def test_a_new_parameter_that_the_grid_sets_is_another_one(write_grid, sweep, stub):
    run_cells(sweep)
    for path in (place_of(sweep.results, cell) for cell in sweep.cells):
        result = read_json(path)
        del result["parameters"]["pack"]["item_tokens"]
        write_json(path, result)
    assert run_cells(sweep).done == []
    with pytest.raises(DtiError, match="pack.item_tokens None, now True"):
        run_cells(command.sweep_of(write_grid(set={"pack.item_tokens": True})))


def test_another_baseline_is_printed_alone(write_grid, sweep, stub, capsys):
    run_cells(sweep)
    capsys.readouterr()
    run(write_grid, baseline="isolated k=5")
    text = capsys.readouterr().out
    assert "Difference of AUC: against isolated k=5 on the common seeds" in text
    row = next(line for line in text.splitlines() if line.startswith("| isolated k=5"))
    assert row.split("|")[5].strip() == "-"
    assert not list(sweep.results.glob("table.*"))
    assert len(stub.ran) == 6
    for cell in sweep.cells[:2]:
        place_of(sweep.results, cell).unlink()
    with pytest.raises(DtiError, match="--baseline 'window': none of its cells has a result"):
        run(write_grid, baseline="window")


def test_the_results_can_lie_elsewhere_and_the_table_be_made_alone(write_grid, sweep, stub, tmp_path, capsys):
    run(write_grid, table=True)
    assert "no cell has a result" in capsys.readouterr().out
    run(write_grid, results=tmp_path / "kept")
    files = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"table.csv", "table.md", "plot.png", "window-seed=1.json"} <= files
    (tmp_path / "kept/table.csv").unlink()
    run(write_grid, results=tmp_path / "kept", table=True)
    assert (tmp_path / "kept/table.csv").is_file()
    assert len(stub.ran) == 6
