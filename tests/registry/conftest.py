"""A finished project in miniature: the results that the stages leave, and a home of its own for MLflow."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dti.registry.tracking import tracking_uri

ROOT = Path(__file__).resolve().parents[2]

METRICS = {
    "dataset": "demo",
    "title": "Demo (generated)",
    "official": True,
    "paradigm": "stream",
    "policy": "isolated",
    "n": 20,
    "k": "all",
    "seed": 1,
    "auc": 0.75,
    "auc_low": 0.74,
    "auc_high": 0.76,
    "auc_strict": 0.745,
    "gauc": 0.7,
    "log_loss": 0.55,
    "f1": None,
    "f1_threshold": None,
    "ece": 0.01,
    "popularity_auc": 0.6,
    "lr_auc": 0.65,
    "popularity_log_loss": 0.65,
    "lr_log_loss": 0.6,
    "test_targets": 9000,
    "backbone": "tiny",
    "backbone_weights": "float32",
    "epochs": 2,
    "train_targets": 80000,
    "train_tokens": 1000000,
    "training_hours": 0.02,
    "targets_per_second": 1234.5,
    "scored_on": "stream",
    "oracle_auc": 0.77,
}
HISTORY = """epoch,step,targets,hours,train_loss,valid_auc,valid_log_loss
1,80,80000,0.01,0.6,0.7,0.6
2,160,160000,0.02,0.5,,
"""


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, made the current one, with blanks in its name."""
    folder = tmp_path / "a project"
    write(folder / "reports/metrics.json", METRICS)
    write(folder / "reports/train.json", {"steps": 160, "device": "cpu", "training_hours": 0.02})
    write(folder / "reports/pack.json", {"prompts": 7, "targets": {"train": 80000}})
    write(folder / "reports/data.json", {"users": 2000, "checks": [{"check": "duplicates", "count": 0}]})
    write(folder / "reports/parity.json", {"targets": 1000, "max_abs_logit_gap": {"all": 1e-7}})
    write(folder / "reports/history.csv", HISTORY)
    write(folder / "reports/plots/roc.csv", "fpr,tpr\n0,0\n1,1\n")
    write(folder / "data/scores/test.parquet", "scores")
    write(folder / "models/adapter/dti.json", {"n": 20})
    write(folder / "models/adapter/tokenizer/tokenizer.json", {})
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "a home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take seconds to make, without an experiment of ours."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(project: Path, empty_database: Path) -> MlflowClient:
    """A client of the project's MLflow, with its tables made."""
    target = Path(tracking_uri().removeprefix("sqlite:///"))
    shutil.copy(empty_database, target)
    return MlflowClient(tracking_uri())


@pytest.fixture
def start(project: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a Python process in the project's folder, by default the track stage."""

    def run(*arguments: str) -> subprocess.Popen[str]:
        words = [sys.executable, *(arguments or ("-m", "dti.stages.track"))]
        return subprocess.Popen(words, cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return run
