"""A finished project in miniature: the results that the stages leave, and a home of its own for MLflow."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from dti.model.adapter import save
from dti.params import load_params
from dti.prompts.pack import pack
from dti.prompts.store import Store
from dti.registry.tracking import tracking_uri
from dti.training.run import model_of, record_of

ROOT = Path(__file__).resolve().parents[2]
USERS, ITEMS, LENGTH = 6, 12, 14

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


def write_scores(folder: Path) -> None:
    """What evaluate leaves of the test targets in data/interim: a score each."""
    rows = pq.read_table(folder / "interim/interactions.parquet")
    rows = rows.filter(pc.equal(rows["split"], "test")).select(["user_id", "item_id", "timestamp", "label"])
    (folder / "scores").mkdir()
    score = np.random.default_rng(1).random(rows.num_rows)
    pq.write_table(rows.append_column("score", pa.array(score)), folder / "scores/test.parquet")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, interim: Callable[..., Path]) -> Path:
    """The folders data and models of a project whose adapter has random weights."""
    folder = tmp_path_factory.mktemp("trained")
    params, rng = load_params(ROOT / "params.yaml"), np.random.default_rng(3)
    items = [{"title": f"thing {i}", "brand": "acme" if i % 2 else None, "genres": "tools"} for i in range(ITEMS)]
    histories = [[(int(rng.integers(ITEMS)), int(rng.integers(2))) for _ in range(LENGTH)] for _ in range(USERS)]
    splits = [["train"] * 8 + ["valid"] * 2 + ["test"] * (LENGTH - 10)] * USERS
    interim(folder / "data/interim", histories, items, splits)
    pack(params, folder / "data/interim", folder / "data/packed")
    write_scores(folder / "data")
    store = Store.open(folder / "data/packed")
    record = record_of(store, params)
    save(folder / "models/adapter", model_of(store, params, record), record, store.folder / "tokenizer")
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> Path:
    """The folder of a finished run, made the current one, with blanks in its name."""
    folder = tmp_path / "a project"
    shutil.copytree(trained, folder)
    write(folder / "reports/metrics.json", METRICS)
    write(folder / "reports/train.json", {"steps": 160, "device": "cpu", "training_hours": 0.02})
    write(folder / "reports/pack.json", {"prompts": 7, "targets": {"train": 80000}})
    write(folder / "reports/data.json", {"users": 2000, "checks": [{"check": "duplicates", "count": 0}]})
    write(folder / "reports/parity.json", {"targets": 1000, "max_abs_logit_gap": {"all": 1e-7}})
    write(folder / "reports/history.csv", HISTORY)
    write(folder / "reports/plots/roc.csv", "fpr,tpr\n0,0\n1,1\n")
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
