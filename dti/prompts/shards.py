"""Writes the interactions as shards of whole users, one batch of input in memory at a time."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dti.errors import DtiError
from dti.progress import Progress
from dti.prompts.interim import Columns, Interim, Users
from dti.prompts.row import Ints
from dti.prompts.store import PROBABILITY, SHARD_SCHEMA, TokenIds, write_batch


def whole_users(batches: Iterable[Columns], rows: int) -> Iterator[Columns]:
    """Regroup batches: each group ends at the first change of user at or behind ``rows`` rows."""
    held: list[Columns] = []
    for batch in batches:
        held.append(batch)
        while sum(len(columns["user"]) for columns in held) > rows:
            group = _joined(held)
            changes = np.flatnonzero(np.diff(group["user"][rows - 1 :]))
            if not len(changes):
                held = [group]
                break
            stop = rows + int(changes[0])
            yield {name: column[:stop] for name, column in group.items()}
            held = [{name: column[stop:] for name, column in group.items()}]
    if held and len(held[0]["user"]):
        yield _joined(held)


def check_histories(group: Columns, first: int, path: Path) -> None:
    """Each user's ``order`` counts 0, 1, 2 ... and the splits follow each other; ``first`` is the group's first row.

    Raises:
        DtiError: naming the row.
    """
    user, rows = group["user"], np.arange(len(group["user"]))
    begins = np.append(True, np.diff(user) != 0)
    expected = rows - np.maximum.accumulate(np.where(begins, rows, 0))
    if len(wrong := np.flatnonzero(group["order"] != expected)):
        row, found = wrong[0], group["order"][wrong[0]]
        raise DtiError(f"{path}: row {first + row} (counted from 0): order is {found}, expected {expected[row]}")
    if len(wrong := np.flatnonzero((np.diff(group["split"]) < 0) & ~begins[1:])):
        raise DtiError(f"{path}: row {first + wrong[0] + 1} (counted from 0): split is earlier than the row before")


def context_labels(group: Columns, kind: Literal["binary", "rating"], ids: TokenIds, ratings: Sequence[float]) -> Ints:
    """The token that shows each interaction's label to later targets."""
    if kind == "binary":
        return np.where(group["label"] == 1, ids.yes, ids.no)
    return np.array(list(ids.ratings.values()))[np.searchsorted(ratings, group["rating"])]


def write_shards(
    interim: Interim,
    folder: Path,
    rows: int,
    kind: Literal["binary", "rating"],
    ids: TokenIds,
    ratings: Sequence[float],
) -> None:
    """Write ``folder/00000.arrow`` ... of about ``rows`` interactions each.

    Raises:
        DtiError: the interim data break a rule; names file, row and column.
    """
    folder.mkdir()
    first = 0
    with Progress("pack", interim.rows, "rows") as progress:
        for number, group in enumerate(whole_users(interim.batches(Users()), rows)):
            check_histories(group, first, interim.path)
            group["context_label"] = context_labels(group, kind, ids, ratings)
            schema = SHARD_SCHEMA.append(PROBABILITY) if "probability" in group else SHARD_SCHEMA
            write_batch(folder / f"{number:05d}.arrow", group, schema)
            first += len(group["user"])
            progress.advance(len(group["user"]))


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
