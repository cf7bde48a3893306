"""Puts the runs of a sweep below one parent run in MLflow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from dti.registry.tracking import exclusive, finished_run

SWEEP = "dti.sweep"


@dataclass(frozen=True)
class Nested:
    """A run of a sweep that is recorded already.

    Attributes:
        run_id: its MLflow run.
        cell: its name in the sweep.
        changes: the dotted parameters that the grid sets.
    """

    run_id: str
    cell: str
    valid_auc: float | None
    changes: Mapping[str, Any]


def nest(name: str, experiment_id: str, children: Sequence[Nested], winner: str, failed: int) -> str:
    """Make the parent run, or find the finished one of these very children, and hang the children below it.

    A run that was part of an earlier sweep moves below this one; ``sweep.json`` of each parent names its children.

    Args:
        winner: the winner's run id.
        failed: how many cells have no result.

    Returns:
        the parent's run id.

    Raises:
        DtiError: MLflow cannot be reached or refuses.
    """
    content = {"name": name, "winner": winner, "failed": failed, "children": [asdict(child) for child in children]}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    best = next(child for child in children if child.run_id == winner)
    tags = {SWEEP: key, "dti.winner": winner, "dti.winner_cell": best.cell}
    metrics = {"valid_auc": best.valid_auc, "cells": len(children), "failed": failed}
    with exclusive() as client:
        parent = finished_run(client, experiment_id, SWEEP, key)
        if parent is None:
            parent = str(client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)
            _fill(client, parent, content, metrics)
        for child in children:
            client.set_tag(child.run_id, MLFLOW_PARENT_RUN_ID, parent)
    return parent


def _fill(client: MlflowClient, parent: str, content: Mapping[str, Any], metrics: Mapping[str, float | None]) -> None:
    """Give a new parent its file and numbers; only then it is finished."""
    client.log_dict(parent, dict(content), "sweep.json")
    for metric, value in metrics.items():
        if value is not None:
            client.log_metric(parent, metric, value)
    client.set_terminated(parent, "FINISHED")
