"""What a finished run shows in the UI: a table of metrics beside the baselines', and a report with links to MLflow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from dti.errors import DtiError
from dti.evaluation.table import KEYS, SCORES, result_table
from dti.files import read_json
from dti.workspace import Workspace

LINK = re.compile(r"(?P<server>http\S+)/#/experiments/(?P<experiment>\w+)/runs/(?P<run>\w+)")
"""How a run in MLflow is found in a browser; the stage `track` says it."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        metrics: reports/metrics.json.
        run_id: its MLflow run, in experiment ``experiment_id``.
        link: where that is in MLflow's UI.
    """

    metrics: Mapping[str, Any]
    run_id: str
    experiment_id: str
    link: str

    def link_to(self, run_id: str) -> str:
        """Where another run of the same experiment is."""
        return self.link.replace(self.run_id, run_id)


def read_result(workspace: Workspace) -> Result:
    """The result that lies in a workspace, and where MLflow has it.

    Raises:
        DtiError: a report is missing, or no stage said where the record is.
    """
    said = list(LINK.finditer(workspace.log.read_text()))
    if not said:
        raise DtiError(f"{workspace.log}: no stage said where the run's record is; is `make up` running?")
    found, metrics = said[-1], read_json(workspace.folder / "reports" / "metrics.json")
    return Result(metrics, found["run"], found["experiment"], found[0])


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
