"""AUC by groups of test targets: history length, popularity of the item, new users and items, gap in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dti.evaluation.numbers import number
from dti.progress import Progress
from dti.report.comparing import Bootstrap, winner
from dti.report.document import Cell, Section, Table, Words
from dti.report.targets import MODEL, Targets

HISTORY_EDGES = (0, 5, 10, 20, 50, 100, 200, 500)
POPULARITY_EDGES = (0, 1, 10, 30, 100, 300, 1000, 3000)
SOURCE = "`data/scores/test.parquet`, `data/packed`"

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """Groups of the test targets by one property: names, and which targets belong to each, (T,)."""

    title: str
    what: str
    note: str
    masks: dict[str, Mask]


def section(targets: Targets, rival: str, draw: Bootstrap) -> Section:
    """A table for each way to group the targets; ``rival`` is who stands beside the model."""
    groups = [_history(targets), _popularity(targets), _new(targets), _gaps(targets)]
    total = sum(len(group.masks) for group in groups)
    with Progress("report", total, "groups of targets") as progress:
        tables = [_table(targets, group, rival, draw, progress) for group in groups]
    words = [
        f"Each table cuts the same {len(targets):,} test targets in another way. Intervals are 95 % by user "
        f"({draw.samples:,} draws, seed {draw.seed}); small groups have wide ones, and AUC values of different groups "
        f"say less beside each other than the two of one row do. Beside the model: {rival}, the "
        "baseline with the highest AUC. No winner: the interval of the difference holds 0.",
    ]
    return Section("groups", "By groups of targets", [Words(words), *tables])


def _history(targets: Targets) -> Groups:
    note = "Earlier interactions of the user at the target, whatever the split; a probe reads the last n of them."
    return Groups("AUC by history length", "earlier interactions", note, binned(targets.history, HISTORY_EDGES))


def _popularity(targets: Targets) -> Groups:
    note = "Training targets with the same item; validation and test interactions do not count."
    masks = binned(targets.popularity, POPULARITY_EDGES)
    return Groups("AUC by popularity of the item", "training targets of the item", note, masks)


def _new(targets: Targets) -> Groups:
    user, item = targets.activity == 0, targets.popularity == 0
    masks = {
        "known user, known item": ~user & ~item,
        "new user, known item": user & ~item,
        "known user, new item": ~user & item,
        "new user, new item": user & item,
    }
    note = "New: without a training target. A new user's earlier interactions are still read as context."
    return Groups("AUC for new users and items", "", note, masks)


def _gaps(targets: Targets) -> Groups:
    masks = {"strictly later than its predecessor": targets.strict, "in the same second": ~targets.strict}
    note = "Labels given in one go resemble each other, which helps whoever reads the history. Times are no input."
    return Groups("AUC by the time since the predecessor", "", note, masks)


def binned(value: NDArray[Any], edges: Sequence[int]) -> dict[str, Mask]:
    """Masks of the values from each edge up to the next, by a name such as ``10 to 29``; the last has no end."""
    names = [f"{low:,} to {high - 1:,}" if high > low + 1 else str(low) for low, high in pairwise(edges)]
    place = np.searchsorted(edges, value, "right") - 1
    return {name: place == number for number, name in enumerate([*names, f"{edges[-1]:,} and more"])}


def _table(targets: Targets, groups: Groups, rival: str, draw: Bootstrap, progress: Progress) -> Table:
    rows, empty = [], []
    for name, mask in groups.masks.items():
        if mask.any():
            rows.append(_row(targets, name, mask, rival, draw))
        else:
            empty.append(name)
        progress.advance(1)
    notes = [groups.note, *([f"No targets: {'; '.join(empty)}."] if empty else [])]
    head = [groups.what, "targets", "users", "positive", "model's AUC [95 %]", f"AUC of {rival}", "difference [95 %]"]
    return Table(groups.title, [*head, "in words"], rows, SOURCE, notes, drawn=4, texts=[7])


def _row(targets: Targets, name: str, mask: Mask, rival: str, draw: Bootstrap) -> list[Cell]:
    label, user = targets.label[mask], targets.user[mask]
    model, other = (draw.auc(label, targets.score[who][mask], user) for who in (MODEL, rival))
    difference = model.minus(other)
    counts = [f"{label.size:,}", f"{np.unique(user).size:,}", f"{label.mean():.1%}".replace("%", " %")]
    return [
        *(Cell(text) for text in (name, *counts)),
        model.cell(),
        Cell(number(other.value)),
        Cell(difference.cell("+.4f").text),
        Cell(winner(difference, "model", rival)),
    ]
