"""What a finished run shows in the UI: a table of metrics beside the baselines', and a report with links to MLflow."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from dti.evaluation.table import KEYS, SCORES, result_table
from dti.files import read_json


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        metrics: reports/metrics.json.
        run_id: its MLflow run, in experiment ``experiment_id``.
    """

    metrics: Mapping[str, Any]
    run_id: str
    experiment_id: str

    @property
    def link(self) -> str:
        """The address of its MLflow run in the UI."""
        return run_link(self.experiment_id, self.run_id)


def run_link(experiment_id: str, run_id: str) -> str:
    """The address of an MLflow run, on the server that `make up` started."""
    return f"{os.environ.get('DTI_MLFLOW_URL', '')}/#/experiments/{experiment_id}/runs/{run_id}"


def read_result(folder: Path, experiment: str) -> Result:
    """The result that lies in a workspace, and where MLflow has it.

    Raises:
        DtiError: a report is missing, or MLflow cannot be reached.
    """
    from dti.registry.record import result_key  # MLflow takes seconds to load
    from dti.registry.tracking import find_run

    place = find_run(result_key(folder), experiment)
    assert place is not None, "the stage track has recorded it"
    return Result(read_json(folder / "reports" / "metrics.json"), place.run_id, place.experiment_id)


def table_of(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for the model and for each baseline that has metrics."""
    columns = ("AUC", *SCORES[2:])
    return [
        {"": name, **{column: metrics[key] for column, key in zip(columns, keys, strict=False)}}
        for name, keys in KEYS.items()
        if keys[0] in metrics
    ]


def report_of(result: Result, run: str) -> str:
    """The run's report, as Markdown."""
    found = result.metrics
    return "\n".join(
        [
            f"# {found['title']}: {found['paradigm']}, k = {found['k']}, {found['policy']}",
            "",
            f"- [The run in MLflow]({result.link}): parameters, curves, adapter",
            f"- Into your own tree: `python -m dti apply {run}`",
            "",
            "```",
            result_table(found),
            "```",
        ]
    )


def show(result: Result, run: str) -> None:
    """Leave the artifacts of a finished run."""
    create_table_artifact(table_of(result.metrics), key="metrics", description="Test split; baselines beside the model")
    create_markdown_artifact(report_of(result, run), key="report", description="What came out, and where it is")
