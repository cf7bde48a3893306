"""The files of a run that a report reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dti.errors import DtiError
from dti.evaluation.history import read_history
from dti.evaluation.scores import Scores
from dti.files import read_json

REPORTS = ("data", "pack", "train", "metrics", "parity")
HISTORY = "reports/history.csv"
PARAMETERS = "params.yaml"
SCORES = "data/scores/test.parquet"
Reports = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run by its folder.

    Attributes:
        root: the folder that holds reports/, and data/scores/ and params.yaml where they were kept.
        data, pack, train, metrics, parity: reports/*.json.
        history: reports/history.csv by column; empty where a record of a run did not keep it.
        parameters: params.yaml; None where the folder has none.
    """

    root: Path
    data: Reports
    pack: Reports
    train: Reports
    metrics: Reports
    parity: Reports
    history: Mapping[str, Sequence[float | None]]
    parameters: Mapping[str, Any] | None

    @classmethod
    def read(cls, root: Path, record: bool = False) -> "Run":
        """Read a run's reports.

        Args:
            record: whether the folder is the record of a run, which need not have history.csv.

        Raises:
            DtiError: a report is missing or damaged.
        """
        history = {} if record and not (root / HISTORY).exists() else read_history(root / HISTORY)
        reports = {name: read_json(root / "reports" / f"{name}.json") for name in REPORTS}
        return cls(root, **reports, history=history, parameters=_parameters(root / PARAMETERS))

    @property
    def scores(self) -> Scores | None:
        """The scores of the test targets; None where the folder has none (a record of a run need not keep them)."""
        path = self.root / SCORES
        return Scores.read(path) if path.exists() else None

    @property
    def title(self) -> str:
        """What was trained, in a line."""
        found = self.metrics
        kind = "sliding window (k = 1)" if found["k"] == 1 else f"streaming prompts, k = {found['k']}"
        return f"{found['backbone']}, {kind}, n = {found['n']}, {found['policy']}, seed {found['seed']}"

    def read_from(self) -> list[Path]:
        """The files of results that a report on this run reads, where they are there."""
        names = [f"reports/{name}.json" for name in REPORTS]
        return [self.root / name for name in (*names, HISTORY, SCORES) if (self.root / name).exists()]


def why_unofficial(data: Reports) -> str:
    """Why an archive counts as unofficial (data.json says it in the title alone)."""
    unknown = data["title"].endswith("(no published checksum)")
    return "no checksum of it is published" if unknown else "its checksum is not the published one"


def machine(run: Run) -> str:
    """The device and the threads of the training."""
    threads = run.train["threads"]
    return f"{run.train['device']}, {threads} thread{'' if threads == 1 else 's'}"


def _parameters(path: Path) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise DtiError(f"{path}: no valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise DtiError(f"{path}: no parameters by name")
    return content
