"""What MLflow gets to know of a run: read from params.yaml, reports/, models/adapter and dvc.lock."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dti import git
from dti.errors import DtiError
from dti.evaluation.history import read_history
from dti.files import digest_of, read_json
from dti.params import Params

REPORTS = {"": "metrics", "train/": "train", "pack/": "pack", "data/": "data", "parity/": "parity"}
"""The prefix of metric names for each file of reports/."""

CODE = ("dti", "dvc.yaml")
ADAPTER = Path("models/adapter")
PIPELINE = ("params.yaml", "dvc.yaml", "dvc.lock")
"""What made a run, beside code and data: its parameters, its stages and their hashes."""
NO_RESULTS = ("dti/", "reports/report.")


@dataclass(frozen=True)
class Point:
    """A value of a learning curve after ``step`` optimiser steps and ``hours`` of training."""

    step: int
    hours: float
    value: float


@dataclass(frozen=True)
class Record:
    """One run as MLflow shall know it.

    Attributes:
        key: digest of all results; equal results have one record.
        name: a readable name.
        params: params.yaml, flattened, values as JSON (strings bare).
        metrics: every number in reports/*.json, flattened.
        curves: the columns of reports/history.csv.
        tags: data set, key, base model, code version, DVC's hashes of data and code, cost.
        artifacts: the files and folders to keep, by their place in the run.
    """

    key: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, list[Point]]
    tags: Mapping[str, str]
    artifacts: Mapping[str, Path]


def read_record(root: Path, params: Params) -> Record:
    """Collect the record of the results that lie in the project's folder ``root``.

    Raises:
        DtiError: a result is missing or malformed; run the stage that makes it.
    """
    reports = {name: read_json(root / "reports" / f"{name}.json") for name in REPORTS.values()}
    found = reports["metrics"]
    key = result_key(root)
    return Record(
        key=key,
        name=f"{found['dataset']} {found['paradigm']} k={found['k']} {found['policy']}",
        params=dict(_flat(params.model_dump(), ".")),
        metrics={
            f"{prefix}{path}": float(value)
            for prefix, name in REPORTS.items()
            for path, value in _numbers(reports[name])
        },
        curves=_curves(read_history(root / "reports" / "history.csv")),
        tags={
            "dti.key": key,
            **_data_tags(found),
            **_base_tags(read_json(root / ADAPTER / "dti.json")),
            **_cost_tags(reports["train"]),
            **_code_tags(root),
            **_hashes(root, found["dataset"]),
        },
        artifacts={name: root / name for name in ("reports", *PIPELINE) if (root / name).exists()},
    )


def result_key(root: Path) -> str:
    """One digest over all results that the track stage depends on, as dvc.yaml lists them.

    Code does not count, nor does the report, which only shows the results.

    Raises:
        DtiError: one of them is missing.
    """
    stage = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["track"]
    results = [root / path for path in stage["deps"] if not path.startswith(NO_RESULTS)]
    missing = [path for path in results if not path.exists()]
    if missing:
        raise DtiError(f"{missing[0]}: not found; run `dvc repro`")
    return digest_of(results)


def _flat(tree: Mapping[str, Any], joint: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, joint, f"{prefix}{name}{joint}")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _numbers(tree: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by their path, ``a/b``; nulls, texts, truth values and lists are no metrics."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{path}", number) for path, number in _numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def _curves(history: Mapping[str, list[float | None]]) -> dict[str, list[Point]]:
    places = [(int(step or 0), hours or 0.0) for step, hours in zip(history["step"], history["hours"], strict=True)]
    return {
        f"curve/{name}": [
            Point(step, hours, value) for (step, hours), value in zip(places, values, strict=True) if value is not None
        ]
        for name, values in history.items()
        if name != "step"
    }


def _data_tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "dti.dataset": found["dataset"],
        "dti.title": found["title"],
        "dti.official_archive": json.dumps(found["official"]),
        "dti.backbone_weights": found.get("backbone_weights", "float32"),  # reports from before GGUF have none
    }


def _code_tags(root: Path) -> dict[str, str]:
    """The commit, and whether the code differs from it; results and parameters always do, and are recorded."""
    code = git.code_of(root, *CODE)
    return {"mlflow.source.git.commit": code.commit, "dti.git_dirty": json.dumps(code.dirty)} if code else {}


def _base_tags(adapter: Mapping[str, Any]) -> dict[str, str]:
    """The base model's reference: a LoRA adapter does not hold its weights."""
    found = {name: adapter.get(name) for name in ("backbone", "revision", "base_digest", "tuning")}
    return {f"dti.{name}": str(value) for name, value in found.items() if value is not None}


def _cost_tags(train: Mapping[str, Any]) -> dict[str, str]:
    """What the training took, of the run that really trained."""
    names = ("training_hours", "device", "train_tokens", "epochs")
    return {f"dti.{name}": str(train[name]) for name in names if name in train}


def _hashes(root: Path, dataset: str) -> dict[str, str]:
    """DVC's hashes of the data that led here, and one digest over those of the code, as far as dvc.lock knows them."""
    lock = root / "dvc.lock"
    stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {}) if lock.exists() else {}
    entries = [entry for stage in stages.values() for entry in (*stage.get("deps", ()), *stage.get("outs", ()))]
    hashes = {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}
    paths = {
        "dvc.raw": f"data/raw/{dataset}",
        "dvc.interim": "data/interim",
        "dvc.packed": "data/packed",
        "dvc.adapter": "models/adapter",
        "dvc.scores": "data/scores",
    }
    code = sorted(f"{path} {md5}\n" for path, md5 in hashes.items() if path.startswith("dti/"))
    digest = {"dvc.code": hashlib.sha256("".join(code).encode()).hexdigest()} if code else {}
    return {tag: hashes[path] for tag, path in paths.items() if path in hashes} | digest
