"""What a rival leaves: RIVAL.json, its test scores in RIVAL.parquet, and a run in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dti import git
from dti.evaluation.metrics import ScoredSplit
from dti.evaluation.report import model_metrics
from dti.evaluation.scoring import write_scores
from dti.files import digest_of, read_json, write_json
from dti.home import ROOT
from dti.params import Params
from dti.prompts.store import Store

COLUMNS = ("auc", "auc_low", "auc_high", "log_loss", "gauc", "f1", "ece")
META = ("dataset", "title", "official", "n", "context_labels", "digest")
OURS, ADAPTER = Path("reports/metrics.json"), Path("models/adapter/dti.json")
FACTS = ("title", "n", "test_targets")
"""Of the data, in our metrics as in a rival's."""
CODE = ("dti", "benchmarks/rivals")


@dataclass(frozen=True)
class Scored:
    """A trained rival by its scores, and what it took.

    Attributes:
        hours: of the training whose scores these are, by the wall's clock; ``processor_hours``: of its threads.
        tuning_hours: of the threads of all trials.
        epochs: how often that training saw each training target.
        trials: settings that were tried, the chosen one first.
    """

    model: str
    library: str
    valid: ScoredSplit
    test: ScoredSplit
    seed: int
    valid_auc: float | None
    parameters: int
    hours: float
    processor_hours: float
    tuning_hours: float
    epochs: int
    trials: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """Its files' name."""
        return f"{self.model.replace(' ', '-')}-seed={self.seed}"


def write(found: Scored, folder: Path, store: Store, bootstrap: int, features: list[str], budget: object) -> Path:
    """Write both files; the JSON, written last, says that all is there."""
    code = git.code_of(ROOT, *CODE)
    content = {
        "model": found.model,
        "library": found.library,
        **{key: getattr(store.meta, key) for key in META},
        **model_metrics(found.valid, found.test, bootstrap, found.seed),
        "valid_auc": found.valid_auc,
        "test_targets": found.test.label.size,
        "train_targets": store.meta.counts.train,
        "parameters": found.parameters,
        "training_hours": found.hours,
        "processor_hours": found.processor_hours,
        "tuning_hours": found.tuning_hours,
        "targets_per_second": store.meta.counts.train * found.epochs / max(found.hours * 3600, 1e-9),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "features": features,
        "budget": budget,
        "seed": found.seed,
        "code": code and asdict(code),
        "trials": found.trials,
    }
    write_scores(folder / f"{found.stem}.parquet", store, found.test)
    path = folder / f"{found.stem}.json"
    write_json(path, content)
    return path


def record(path: Path, params: Params) -> str:
    """One MLflow run in the experiment of the language model's runs; says which."""
    from dti.registry.record import Record
    from dti.registry.tracking import describe, record_run

    found, key = read_json(path), digest_of([path])
    metrics = {name: float(value) for name, value in found.items() if type(value) in (int, float)}
    facts = {name: found[name] for name in ("n", "context_labels", "library", "seed")}
    chosen = {**(found["trials"][0] if found["trials"] else {}), **facts}
    tags = {"dti.key": key, "dti.dataset": found["dataset"], "dti.rival": found["model"], "dti.packed": found["digest"]}
    run = Record(
        key=key,
        name=f"{found['dataset']} rival {found['model']}",
        params={name: str(value) for name, value in chosen.items()},
        metrics=metrics,
        curves={},
        tags=tags,
        artifacts={"rivals": path},
    )
    return describe(record_run(run, params.track.experiment))


def table(paths: Sequence[Path]) -> str:
    """These results, beside those of reports/metrics.json; where these are not of the same data, a line says so.

    Raises:
        DtiError: a result is missing or damaged.
    """
    rows, notes = [read_json(path) for path in paths], []
    if OURS.exists():
        found = read_json(OURS)
        if reason := _why_apart(found, rows[0]):
            notes.append(f"Our model is left out: {reason}.")
        else:
            rows.append(found | {"model": f"DTI ({found['paradigm']}, k = {found['k']}, {found['backbone']})"})
    head = f"{'':32}{'seed':>5}" + "".join(f"{column:>10}" for column in (*COLUMNS, "hours"))
    return "\n".join([rows[0]["title"], head, *(_line(row) for row in rows), *notes])


def _why_apart(ours: Mapping[str, Any], rival: Mapping[str, Any]) -> str | None:
    """What forbids to show our metrics beside a rival's; None where both are of the same packed data."""
    digest = read_json(ADAPTER).get("packed_digest") if ADAPTER.exists() else None
    if digest is None:
        return f"no {ADAPTER} names the packed data of {OURS}"
    # An adapter may be newer than the metrics, where evaluate has not run since: then only these facts tell.
    same = digest == rival["digest"] and all(ours.get(fact) == rival[fact] for fact in FACTS)
    return None if same else f"{OURS} is of other packed data; run `dvc repro`"


def _line(row: Mapping[str, Any]) -> str:
    values = [row[column] for column in (*COLUMNS, "training_hours")]
    cells = "".join(f"{'-' if value is None else f'{value:.4f}':>10}" for value in values)
    return f"{row['model']:32}{row['seed']:>5}{cells}"
