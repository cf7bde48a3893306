"""A sweep's runs below one parent."""

import pytest
from mlflow import MlflowClient

from dti.registry.nesting import SWEEP, Nested, nest
from dti.registry.tracking import exclusive, make_record, tracking_uri


@pytest.fixture
def children(project):
    make_record()
    with exclusive() as client:
        experiment = client.create_experiment("dti")
        runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    nested = [
        Nested(run, f"cell {n}", valid, {"pack.k": n})
        for n, (run, valid) in enumerate(zip(runs, (0.7, 0.8), strict=True))
    ]
    return experiment, nested


def test_children_hang_below_the_parent_that_names_the_winner(children):
    experiment, nested = children
    parent = nest("try", experiment, nested, nested[1].run_id, failed=1)
    client = MlflowClient(tracking_uri())
    run = client.get_run(parent)
    assert run.info.status == "FINISHED"
    assert run.data.tags["dti.winner"] == nested[1].run_id
    assert run.data.tags["dti.winner_cell"] == "cell 1"
    assert run.data.metrics == {"valid_auc": 0.8, "cells": 2, "failed": 1}
    assert [artifact.path for artifact in client.list_artifacts(parent)] == ["sweep.json"]
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {run.info.run_id for run in below} == {child.run_id for child in nested}


def test_the_same_sweep_again_finds_its_parent_and_another_takes_its_children(children):
    experiment, nested = children
    parent = nest("try", experiment, nested, nested[1].run_id, failed=0)
    assert nest("try", experiment, nested, nested[1].run_id, failed=0) == parent
    other = nest("other", experiment, nested[:1], nested[0].run_id, failed=0)
    client = MlflowClient(tracking_uri())
    assert client.get_run(nested[0].run_id).data.tags["mlflow.parentRunId"] == other
    assert client.get_run(nested[1].run_id).data.tags["mlflow.parentRunId"] == parent


def test_a_parent_that_a_kill_left_unfinished_is_replaced(children, monkeypatch):
    experiment, nested = children

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_dict", die)
        with pytest.raises(KeyboardInterrupt):
            nest("try", experiment, nested, nested[1].run_id, failed=0)
    parent = nest("try", experiment, nested, nested[1].run_id, failed=0)
    client = MlflowClient(tracking_uri())
    (run,) = client.search_runs([experiment], f"tags.`{SWEEP}` != ''")
    assert (run.info.run_id, run.info.status) == (parent, "FINISHED")
    assert [artifact.path for artifact in client.list_artifacts(parent)] == ["sweep.json"]
