"""What differs between this run and another one: parameters, metrics, time, and AUC by the same draws of users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from dti.evaluation.numbers import number
from dti.params import NO_MATTER, flatten
from dti.report.comparing import Estimate, estimate, winner
from dti.report.document import Block, Section, Table, Words, cells
from dti.report.models import LOWER, NAMES
from dti.report.run import Run, machine

METRICS = (*NAMES, "auc_strict", "valid_auc")
TIMES = ("training_hours", "targets_per_second")
REPORTS = "`reports/metrics.json`, `reports/train.json`, `reports/pack.json` of both"


@dataclass(frozen=True)
class Pair:
    """This run and the one that it is compared with, which ``name`` names.

    Attributes:
        difference: this AUC minus the other's by the same draws; None where test targets differ or are not kept.
        why: why there is no difference; empty if there is one.
    """

    this: Run
    other: Run
    name: str
    difference: Estimate | None
    why: str

    @property
    def comparable(self) -> bool:
        """Whether metrics of both are those of the same targets."""
        return self.difference is not None or self.this.data == self.other.data


def pair(this: Run, other: Run, name: str) -> Pair:
    """Compare the scores of two runs where both kept those of the same test targets."""
    mine, theirs = this.scores, other.scores
    if theirs is None or mine is None:
        return Pair(this, other, name, None, f"{name} kept no `data/scores/test.parquet`")
    if not mine.has_targets_of(theirs):
        return Pair(this, other, name, None, f"{name} scored other test targets")
    if not mine.label.size:
        return Pair(this, other, name, None, "there are no test targets")
    aucs = mine.auc(), theirs.auc()
    value = None if aucs[0] is None or aucs[1] is None else aucs[0] - aucs[1]
    return Pair(this, other, name, estimate(value, mine.draws() - theirs.draws()), "")


def section(found: Pair) -> Section:
    """All that differs."""
    blocks: list[Block] = [Words(_summary(found), listed=True), _metrics(found), _parameters(found), _curves(found)]
    return Section("against", f"Against {found.name}", blocks)


def _summary(found: Pair) -> list[str]:
    this, other = found.this, found.other
    lines = [f"{found.name} is: {other.title}; data set {other.metrics['title']}."]
    if found.difference is None:
        reason = f"No difference by user: {found.why}."
        caution = (
            "" if found.comparable else " The data differ, so the metrics below are not those of the same targets."
        )
        lines.append(reason + caution)
    else:
        cell, words = found.difference.cell("+.4f"), winner(found.difference, "this run", found.name)
        lines.append(
            f"AUC of this run minus that of {found.name}, on the same {this.metrics['test_targets']:,} test targets "
            f"and {found.difference.draws.size:,} draws of users: {cell.text}: {words}. One seed each: another seed "
            "moves both."
        )
    return [*lines, _speed(this, other)]


def _speed(this: Run, other: Run) -> str:
    rate, beside = this.train["targets_per_second"], other.train["targets_per_second"]
    predicted = other.pack["tokens_per_target"] / this.pack["tokens_per_target"]
    where = "on the same kind of device and number of threads"
    if machine(this) != machine(other):
        where = "but NOT on the same kind of device and number of threads"
    return (
        f"Measured speed: {rate:,.0f} against {beside:,.0f} targets/s, {rate / beside:.2f}x, {where}; tokens per "
        f"target alone, counted when packed, predict {predicted:.2f}x."
    )


def _metrics(found: Pair) -> Table:
    rows = []
    for name in METRICS:
        mine, theirs = found.this.metrics.get(name), found.other.metrics.get(name)
        gap = None if mine is None or theirs is None else mine - theirs
        words = _better(name, gap, found.name) if found.comparable else "other targets"
        title = {"auc_strict": "AUC, strictly later", "valid_auc": "validation AUC"}.get(name, NAMES.get(name, name))
        rows.append(cells(title, number(mine), number(theirs), number(gap, "+.4f"), words))
    for title, read in _facts().items():
        rows.append(cells(title, read(found.this), read(found.other), "", ""))
    head = ["", "this run", found.name, "difference", "in words"]
    note = "In words: by the number alone, however small; only the AUC above has an interval for its difference."
    return Table("Metrics and cost of both", head, rows, REPORTS, [note], texts=[4])


def _better(name: str, gap: float | None, other: str) -> str:
    if not gap:
        return "" if gap is None else "equal"
    return "this run is better" if (gap < 0) == (name in LOWER) else f"{other} is better"


def _facts() -> Mapping[str, Any]:
    return {
        "training hours": lambda run: f"{run.train['training_hours']:.3g}",
        "targets/s": lambda run: f"{run.train['targets_per_second']:,.0f}",
        "trained weights": lambda run: f"{run.train['trained_parameters']:,}",
        "tokens per target, packed": lambda run: f"{run.pack['tokens_per_target']:.2f}",
        "largest parity gap, k = all": lambda run: number(run.parity["max_abs_logit_gap"].get("all"), ".1e"),
        "device": machine,
    }


def _parameters(found: Pair) -> Block:
    mine, theirs = found.this.parameters, found.other.parameters
    if mine is None or theirs is None:
        return Words([f"Parameters cannot be compared: {found.name} kept no `params.yaml`."])
    one, two = flatten(mine), flatten(theirs)
    names = [name for name in {**one, **two} if not name.startswith(NO_MATTER)]
    rows = [
        cells(f"`{name}`", shown(one.get(name)), shown(two.get(name)))
        for name in names
        if one.get(name) != two.get(name)
    ]
    if not rows:
        return Words(["All parameters that change results are equal (`params.yaml` of both)."])
    head = ["parameter", "this run", found.name]
    return Table("Parameters that differ", head, rows, "`params.yaml` of both", texts=[1, 2])


def _curves(found: Pair) -> Block:
    if not found.other.history:
        return Words([f"Learning curves cannot be compared: {found.name} kept no `reports/history.csv`."])
    columns = [(run.history["hours"], run.history["valid_auc"]) for run in (found.this, found.other)]
    epochs = zip_longest(*columns[0], *columns[1])
    rows = [
        cells(str(epoch), *(number(value, form) for value, form in zip(row, (".3g", ".4f") * 2, strict=True)))
        for epoch, row in enumerate(epochs, 1)
    ]
    head = ["after epoch", "hours, this run", "validation AUC, this run", f"hours, {found.name}"]
    head.append(f"validation AUC, {found.name}")
    return Table("Learning curves against hours", head, rows, "`reports/history.csv` of both")


def shown(value: Any) -> str:
    """A parameter's value as params.yaml writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown(one) for one in value)
    return f"{value:g}" if isinstance(value, float) and np.isfinite(value) else str(value)
