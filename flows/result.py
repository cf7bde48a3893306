"""What a finished run shows in the UI: a table of metrics beside the baselines', and a report with links to MLflow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from dti.errors import DtiError
from dti.evaluation.table import KEYS, SCORES, result_table
from dti.files import read_json
from dti.workspace import Workspace

if TYPE_CHECKING:
    from dti.registry.champion import Champion

WHOSE = "scores of"
"""The column of names."""
LINK = re.compile(r"(?P<server>http\S+)/#/experiments/(?P<experiment>\w+)/runs/(?P<run>\w+)")
"""How a run in MLflow is found in a browser; the stage `track` says it."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        metrics: reports/metrics.json.
        run_id: its MLflow run, in experiment ``experiment_id``.
        link: where that is in MLflow's UI.
        folder: its workspace, as long as it is not pruned.
    """

    metrics: Mapping[str, Any]
    run_id: str
    experiment_id: str
    link: str
    folder: Path

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
    return Result(metrics, found["run"], found["experiment"], found[0], workspace.folder)


def table_of(metrics: Mapping[str, Any], champion: "Champion | None" = None) -> list[dict[str, Any]]:
    """A row for the model, for the champion if there is one, and for each baseline that has metrics.

    Every column has a name: Prefect's UI does not show one without.
    """
    rows = {name: {column: metrics[key] for column, key in _keys(name)} for name in KEYS if KEYS[name][0] in metrics}
    if champion:
        other = "" if champion.same_targets else ", on other test targets"
        theirs = {column: champion.metrics.get(key) for column, key in _keys("model")}
        rows = {"model": rows.pop("model"), f"champion, version {champion.version}{other}": theirs, **rows}
    return [{WHOSE: name, **{key: _short(score) for key, score in scores.items()}} for name, scores in rows.items()]


def _short(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _keys(row: str) -> list[tuple[str, str]]:
    """The columns of a row, and the keys of metrics.json that fill them."""
    return list(zip(("AUC", *SCORES[2:]), KEYS[row], strict=False))


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
    rows = table_of(result.metrics, _champion_beside(result))
    create_table_artifact(rows, key="metrics", description="Test split; champion and baselines beside the model")
    create_markdown_artifact(report_of(result, run), key="report", description="What came out, and where it is")


def _champion_beside(result: Result) -> "Champion | None":
    """The champion of the run's data set; a registry that does not answer takes nothing from a finished run."""
    from dti.registry.champion import champion_beside  # MLflow takes seconds to load

    try:
        return champion_beside(result.run_id, result.metrics["dataset"])
    except DtiError as error:
        get_run_logger().warning("no champion is shown: %s", error)
        return None
