"""Plans beside runs: rows are those of the same way, whatever they say; other data are refused."""

import pytest

from benchmarks import plans
from dti.errors import DtiError
from dti.files import write_json
from dti.params import load_params
from dti.training.plan import Cost, ways
from tests.training.conftest import Project
from tests.training.conftest import packed as packed  # fixtures of trainings
from tests.training.conftest import project as project

GIB = 2**30


def result(params, way, **train):
    parameters = params.model_dump()
    parameters["pack"]["k"], parameters["attention"] = way.k, way.attention.model_dump()
    took = {"epochs": 1, "training_hours": 0.5, "peak_bytes": 2 * GIB, "train_targets": 300}
    return {"cell": way.name, "parameters": parameters, "train": took | train}


def test_each_way_stands_beside_its_run():
    params = load_params()
    found = ways(params, params.pack.k)
    costs = [Cost(way, 1.0, 1.0, 1.0, 0.6, GIB, "measured") for way in found]
    assert (found[1].k, found[2].k, found[3].k) == (1, 50, "all")
    runs = [
        result(params, found[3], epochs=4, training_hours=2.0),
        result(params, found[1], training_hours=0.8, peak_bytes=GIB),
    ]
    del runs[0]["parameters"]["attention"]["probe_tokens"]  # a result from before there was a choice
    others = result(params, found[2])
    others["parameters"]["train"]["targets_per_step"] += 1
    assert list(plans.lines(costs, params, [*runs, others]))[2:] == [
        "| sliding window | 1 | 0.6000 | 0.8000 | -25.0% | 1.00 | 1.00 | +0.0% |",
        "| window stream | all | 0.6000 | 0.5000 | +20.0% | 1.00 | 2.00 | -50.0% |",
    ]


def test_other_data_are_refused(project, monkeypatch, tmp_path):
    run: Project = project("plans")
    params = load_params(run.folder / "params.yaml")
    write_json(tmp_path / "one.json", result(params, ways(params, 5)[0], train_targets=1))
    monkeypatch.chdir(run.folder)
    with pytest.raises(DtiError, match=r"cells of \{1\} targets"):
        plans.main([str(tmp_path)])
    with pytest.raises(DtiError, match="no results"):
        plans.main([str(tmp_path / "none")])


def test_a_plan_of_packed_data_is_printed_beside_a_run(project, monkeypatch, tmp_path, capsys):
    run: Project = project("whole", epochs=1)
    params = load_params(run.folder / "params.yaml")
    run.train_here(monkeypatch)
    write_json(tmp_path / "one.json", result(params, ways(params, 5)[0]) | {"train": run.report()})
    plans.main([str(tmp_path), "--seconds", "0"])
    table = capsys.readouterr().out.splitlines()
    assert table[-1].startswith("| these parameters | 5 | ")
    assert f" {run.report()['training_hours']:.4f} |" in table[-1]
