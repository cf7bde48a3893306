"""A grid of three configurations, and cells whose pipeline is a stub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dti.evaluation.scores import Scores
from dti.files import write_json
from dti.sweep.command import sweep_of
from dti.sweep.runner import Sweep
from dti.workspace import Workspace

GRID: dict[str, Any] = {
    "name": "small",
    "threads": 1,
    "baseline": "window",
    "set": {"train.epochs": 1},
    "over": {"train.seed": [1, 2]},
    "groups": [
        {"name": "window", "set": {"attention.policy": "window"}},
        {"name": "isolated", "over": {"pack.k": [5, "all"]}},
    ],
}


@pytest.fixture
def write_grid(tmp_path: Path) -> Callable[..., Path]:
    """``write_grid(**changes)`` writes the small grid with other entries."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(GRID | changes))
        return path

    return write


@pytest.fixture
def sweep(write_grid, tmp_path, monkeypatch) -> Sweep:
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    return sweep_of(write_grid())


def _outputs(folder: Path, seed: int = 0, users: int = 12) -> None:
    """What `dvc repro evaluate` leaves, as far as a sweep reads it; scores are random by ``seed``."""
    rng, who = np.random.default_rng(seed), np.random.default_rng(99)
    user = np.sort(who.integers(users, size=20 * users))
    label = who.integers(2, size=user.size).astype(np.int8)
    score = np.round(np.clip(0.5 + 0.2 * (label - 0.5) + rng.normal(0, 0.2, user.size), 0, 1), 2)
    (folder / "data/scores").mkdir(parents=True, exist_ok=True)
    ids = {"user_id": [f"u{u}" for u in user], "item_id": [f"i{row % 7}" for row in range(user.size)]}
    table = pa.table(ids | {"label": label, "score": score})
    pq.write_table(table, folder / "data/scores/test.parquet")
    reports = {
        "metrics": {"auc": 0.5, "log_loss": 0.5 + seed / 100, "valid_auc": 0.6},
        "train": {
            "training_hours": 0.1 * (1 + seed),
            "targets_per_second": 100.0,
            "train_tokens": 850,
            "train_targets": 100,
        },
        "parity": {"max_abs_logit_gap": {"5": 0.5, "all": seed / 1000}},
        "pack": {"tokens_per_target": 9.5, "sliding_tokens_per_target": 99.0, "counted_ratio": 10.4, "users": 3},
    }
    for name, content in reports.items():
        write_json(folder / f"reports/{name}.json", content)


class Stub:
    """Stands for the pipeline: notes the cells it ran; a cell's slug in ``trouble`` raises what stands there."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.environment: dict[str, str] = {}
        self.trouble: dict[str, BaseException] = {}
        self.scores: dict[str, Scores] = {}

    def run(self, workspace: Workspace, targets: list[str], environment: dict[str, str]) -> None:
        assert targets == ["evaluate"]
        name = workspace.folder.name
        self.ran.append(name)
        self.environment = environment
        (workspace.folder / "begun").touch()
        if name in self.trouble:
            raise self.trouble[name]
        _outputs(workspace.folder, len(self.ran))
        self.scores[name] = Scores.read(workspace.folder / "data/scores/test.parquet")


@pytest.fixture
def stub(monkeypatch) -> Stub:
    made = Stub()
    monkeypatch.setattr(Workspace, "run", lambda *arguments: made.run(*arguments))
    return made
