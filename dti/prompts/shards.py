"""Writes the interactions as shards of whole users, each for itself, one in memory at a time in each process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from dti.errors import DtiError
from dti.progress import Progress
from dti.prompts.interim import Columns, Interim, Users
from dti.prompts.row import Ints
from dti.prompts.store import PROBABILITY, SHARD_SCHEMA, TokenIds, write_batch
from dti.workers import Mapper


@dataclass(frozen=True)
class ContextLabels:
    """Which token shows an interaction's label to later targets."""

    kind: Literal["binary", "rating"]
    ids: TokenIds
    ratings: Sequence[float]

    def of(self, group: Columns) -> Ints:
        """The token of each interaction."""
        if self.kind == "binary":
            return np.where(group["label"] == 1, self.ids.yes, self.ids.no)
        return np.array(list(self.ids.ratings.values()))[np.searchsorted(self.ratings, group["rating"])]


@dataclass(frozen=True)
class Part:
    """The rows of one shard: those of whole users, in ``interactions.parquet``."""

    number: int
    first: int
    stop: int
    first_user: int


def parts_of(lengths_U: Ints, rows: int) -> Iterator[Part]:
    """Cut users with so many rows each into shards: a shard ends at the first end of a user at or behind ``rows``."""
    stops = np.cumsum(lengths_U)
    first = user = number = 0
    while user < len(stops):
        last = min(int(np.searchsorted(stops, first + rows)), len(stops) - 1)
        yield Part(number, first, int(stops[last]), user)
        first, user, number = int(stops[last]), last + 1, number + 1


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


def write_shard(part: Part, interim: Path, folder: Path, labels: ContextLabels) -> int:
    """Write the shard of these rows, in any process that sees both folders; returns how many rows.

    Raises:
        DtiError: the interim data break a rule; names file, row and column.
    """
    found = Interim(interim)
    group = joined(list(found.batches(Users(part.first_user), part.first, part.stop)))
    check_histories(group, part.first, found.path)
    group["context_label"] = labels.of(group)
    schema = SHARD_SCHEMA.append(PROBABILITY) if "probability" in group else SHARD_SCHEMA
    write_batch(folder / f"{part.number:05d}.arrow", group, schema)
    return part.stop - part.first


def write_shards(
    interim: Interim, lengths_U: Ints, folder: Path, rows: int, labels: ContextLabels, mapper: Mapper
) -> None:
    """Write ``folder/00000.arrow`` ... of about ``rows`` interactions each.

    Args:
        lengths_U: the rows of each user.
        mapper: makes the shards.

    Raises:
        DtiError: the interim data break a rule; names file, row and column.
    """
    folder.mkdir()
    write = partial(write_shard, interim=interim.folder.resolve(), folder=folder.resolve(), labels=labels)
    with Progress("pack", interim.rows, "rows") as progress:
        for written in mapper(write, parts_of(lengths_U, rows)):
            progress.advance(written)


def joined(parts: list[Columns]) -> Columns:
    """Columns of several batches, one after another."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
