"""Puts the runs of a sweep below one parent run in MLflow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from dti.registry.tracking import exclusive

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
    """Make the parent run, or find the one of these very children, and hang the children below it.

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
    with exclusive() as client:
        found = client.search_runs([experiment_id], f"tags.`{SWEEP}` = '{key}'")
        if found:
            parent = str(found[0].info.run_id)
        else:
            tags = {SWEEP: key, "dti.winner": winner, "dti.winner_cell": best.cell}
            parent = str(client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)
            client.log_dict(parent, content, "sweep.json")
            for metric, value in {"valid_auc": best.valid_auc, "cells": len(children), "failed": failed}.items():
                if value is not None:
                    client.log_metric(parent, metric, value)
            client.set_terminated(parent, "FINISHED")
        for child in children:
            client.set_tag(child.run_id, MLFLOW_PARENT_RUN_ID, parent)
    return parent
