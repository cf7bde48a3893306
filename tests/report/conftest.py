"""Folders of small runs: real packed data, scores and metrics; training and parity reports made up."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dti.evaluation.baselines import baselines
from dti.evaluation.metrics import ScoredSplit
from dti.evaluation.plots import write_plots
from dti.evaluation.report import assemble_metrics
from dti.evaluation.scoring import write_scores
from dti.files import write_json
from dti.prompts.pack import pack
from dti.prompts.store import SPLITS, Store

USERS, ITEMS = 40, 45
PARAMS = Path(__file__).parents[2] / "params.yaml"
HISTORY = (
    "epoch,step,targets,hours,train_loss,valid_auc,valid_log_loss\n1,9,450,0.01,0.6,0.7,0.61\n2,18,900,0.02,0.5,,\n"
)
TRAIN = {
    "backbone": "tiny",
    "backbone_weights": "float32",
    "training_hours": 0.02,
    "wait_hours": 0.001,
    "compute_hours": 0.019,
    "validation_hours": 0.002,
    "checkpoint_hours": 0.0,
    "targets_per_second": 123.4,
    "epochs": 2,
    "best_epoch": 1,
    "steps": 18,
    "valid_auc": 0.7,
    "valid_log_loss": 0.61,
    "layout": "stream",
    "content": "trained",
    "catalogue_bytes": 0,
    "parameters": 9000,
    "trained_parameters": 8000,
    "device": "cpu",
    "threads": 1,
    "resumed": 0,
}
GAP = {"mean": 1e-7, "p99": 5e-7, "max": 1e-6, "auc_stream": 0.8, "auc_serving": 0.8}
PARITY = {"split": "test", "targets": 100, "max_abs_logit_gap": {"5": 1e-6, "all": 1e-6}, "k": {"5": GAP, "all": GAP}}


def histories(rng: np.random.Generator, tested: bool) -> tuple[list[list[tuple[int, int]]], list[list[str]]]:
    """Histories of 6 to 40 interactions that like even items, and their splits; the last users have no training."""
    found, splits = [], []
    for user in range(USERS):
        items = np.minimum(rng.geometric(0.1, int(rng.integers(6, 40))) - 1, ITEMS - 1)
        found.append([(int(i), int(rng.random() < (0.75 if i % 2 == 0 else 0.25))) for i in items])
        cuts = [5, *([5, 5] if user >= USERS - 8 else [5 + (len(items) - 5) // 2, 5 + 3 * (len(items) - 5) // 4])]
        place = np.searchsorted(cuts, np.arange(len(items)), "right")
        splits.append([SPLITS[code] if tested or code == 0 else "train" for code in place])
    return found, splits


def scored(store: Store, split: str, skill: float, seed: int) -> ScoredSplit | None:
    """Scores that know the label with some skill (0: none, below 0: the wrong way round)."""
    columns = ("user", "item", "label", "split", "timestamp", "order")
    user, item, label, code, time, order = (np.concatenate([getattr(s, c) for s in store.shards]) for c in columns)
    rows = np.flatnonzero(code == SPLITS.index(split))
    if not rows.size:
        return None
    noise = np.random.default_rng(seed).normal(0, 0.2, rows.size)
    score = np.clip(0.5 + skill * (label[rows] - 0.5) + noise, 0.01, 0.99)
    return ScoredSplit(user[rows], item[rows], label[rows], score, time[rows], order[rows] > 0)


def data_report(store: Store, title: str) -> dict[str, Any]:
    counts = store.meta.counts
    times = ["2020-01-01T00:00:00+00:00", "2020-02-01T00:00:00+00:00"]
    splits = {name: getattr(counts, name) for name in ("train", "valid", "test", "context")}
    return {
        "dataset": "demo",
        "title": title,
        "sha256": "0" * 64,
        "official": True,
        "interactions": counts.interactions,
        "users": counts.users,
        "users_kept": {"kept": counts.users, "of": counts.users},
        "items": counts.items,
        "label_rate": counts.positives / counts.interactions,
        "first_time": times[0],
        "last_time": times[1],
        "splits": splits,
        "split_times": {name: times for name, count in splits.items() if count},
        "checks": [
            {"check": "duplicate interactions", "count": 1234, "rule": "the file's last kept"},
            {"check": "missing ids", "count": 0, "rule": "refused"},
        ],
    }


@pytest.fixture(scope="session")
def make_run(
    tmp_path_factory: pytest.TempPathFactory, interim: Callable[..., Path], params_for: Callable[..., Any]
) -> Callable[..., Path]:
    """``make_run(skill=..., seed=..., tested=..., data=..., metrics=..., train=..., **pack)``: its folder."""

    def make(
        *,
        skill: float = 0.4,
        seed: int = 1,
        tested: bool = True,
        data_seed: int = 0,
        title: str = "Demo (generated)",
        data: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        **pack_params: Any,
    ) -> Path:
        root = tmp_path_factory.mktemp("run")
        found, splits = histories(np.random.default_rng(data_seed), tested)
        source = interim(root / "data/interim", found, [{"title": f"item {i}"} for i in range(ITEMS)], splits)
        settings = {"n": 10, "k": 5, "profile": False, **pack_params}
        report = pack(params_for(**settings), source, root / "data/packed")
        store = Store.open(root / "data/packed")
        valid, test = (scored(store, split, skill, seed) for split in ("valid", "test"))
        columns = ("user", "item", "label", "split")
        beside = baselines(*(np.concatenate([getattr(s, c) for s in store.shards]) for c in columns))
        facts = {**TRAIN, "train_targets": store.meta.counts.train, "train_tokens": 9 * store.meta.counts.train}
        facts |= dict(train or {})
        about = data_report(store, title) | dict(data or {})
        result = assemble_metrics(
            valid=valid,
            test=test,
            baselines=beside,
            train=facts,
            data=about,
            meta={"k": store.meta.k},
            adapter={"policy": "isolated", "n": store.meta.n},
            seed=seed,
            bootstrap=50,
            scored_on="stream" if test else None,
        )
        parity = PARITY if test else {"split": "test", "targets": 0, "max_abs_logit_gap": {}, "k": {}}
        reports = {"data": about, "pack": report, "train": facts, "metrics": result | dict(metrics or {})}
        for name, content in {**reports, "parity": parity}.items():
            write_json(root / "reports" / f"{name}.json", content)
        (root / "reports/history.csv").write_text(HISTORY)
        write_plots(test, beside["test"], root / "reports/history.csv", root / "reports/plots")
        write_scores(root / "data/scores/test.parquet", store, test)
        parameters = yaml.safe_load(PARAMS.read_text())
        parameters["pack"] |= settings
        parameters["train"]["seed"], parameters["evaluate"]["bootstrap"] = seed, 50
        (root / "params.yaml").write_text(yaml.safe_dump(parameters))
        return root

    return make


@pytest.fixture(scope="session")
def one(make_run: Callable[..., Path]) -> Path:
    """A run whose model beats the baselines; read only."""
    return make_run()


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """``copy_of(run)``: a copy to change."""
    return lambda run: shutil.copytree(run, tmp_path / "copy")
