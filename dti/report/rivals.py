"""Classic models that `make baselines` trained on the same packed data, beside this run's model."""

from collections.abc import Mapping
from typing import Any

from dti.errors import DtiError
from dti.evaluation.numbers import number, with_interval
from dti.files import read_json
from dti.report.document import Section, Table, cells
from dti.report.models import HIGHER, NAMES
from dti.report.run import Run

FOLDER = "reports/rivals"


def section(run: Run) -> Section:
    """A row for each rival on this run's packed data.

    Raises:
        DtiError: there is none, or a file lacks a number.
    """
    files = sorted((run.root / FOLDER).glob("*.json"))
    found = [read_json(path) for path in files]
    mine = [rival for rival in found if rival.get("digest") == run.pack["digest"]]
    if not mine:
        raise DtiError(f"{FOLDER}: {len(files)} rivals, none on this run's packed data; run `make baselines`")
    try:
        rows = [_row("model", {**run.metrics, **run.train}, "")]
        rows += [
            _row(rival["model"], rival | {"trained_parameters": rival["parameters"]}, _words(run, rival))
            for rival in mine
        ]
    except KeyError as error:
        raise DtiError(f"{FOLDER}: a file has no {error}; run `make baselines` again") from None
    notes = [
        f"The same {run.metrics['test_targets']:,} test targets. In words: by the numbers alone, however small; "
        "rivals keep no scores, so there is no difference by user. Training hours of a rival: its best trial.",
    ]
    head = [
        "",
        "AUC [95 %, by user]",
        "gAUC",
        "log loss",
        "F1",
        "ECE",
        "training hours",
        "targets/s",
        "trained weights",
    ]
    title = "Classic models on the same packed data"
    table = Table(title, [*head, "in words"], rows, f"`{FOLDER}`, `reports/metrics.json`", notes, texts=[9])
    return Section("rivals", "Rivals", [table])


def _row(name: str, found: Mapping[str, Any], words: str) -> Any:
    scores = [number(found[metric]) for metric in NAMES if metric != "auc"]
    effort = [
        f"{found['training_hours']:.3g}",
        f"{found['targets_per_second']:,.0f}",
        f"{found['trained_parameters']:,}",
    ]
    return cells(name, with_interval(found["auc"], found["auc_low"], found["auc_high"]), *scores, *effort, words)


def _words(run: Run, rival: Mapping[str, Any]) -> str:
    """By what the rival is better than the model."""
    better = []
    for name, title in NAMES.items():
        mine, theirs = run.metrics[name], rival[name]
        if mine is not None and theirs is not None and (theirs > mine if name in HIGHER else theirs < mine):
            better.append(title)
    return f"wins by {', '.join(better)}" if better else "the model wins by all"
