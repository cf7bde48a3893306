"""Reads the interim data batch by batch, checks it, and turns ids into indices.

Shape suffixes: N items, U users.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dti.errors import DtiError
from dti.progress import Progress
from dti.prompts.store import SPLITS

_BATCH = 1 << 18
_TYPES = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "label": pa.int8(),
    "timestamp": pa.int64(),
    "order": pa.int32(),
    "split": pa.string(),
}
_OPTIONAL = {"rating": pa.float32(), "probability": pa.float32()}
_MOST_RATINGS = 20  # more distinct values than this are a measurement, no scale of ratings

Columns = dict[str, NDArray[Any]]
"""Numpy columns of equal length: user and item (indices), label, timestamp, order, split (codes), rating and
probability where there are any."""


@dataclass(frozen=True)
class Survey:
    """What the interim data holds, counted before anything is written.

    Attributes:
        user_ids: one per user, in the order of the file.
        lengths_U: the rows of each user.
        trained_items_N, trained_users_U: which items and users occur in the training split.
        splits: rows of each split.
        positives: rows with label 1.
        ratings: the distinct ratings, ascending; empty without a rating column.
    """

    user_ids: pa.Array
    lengths_U: NDArray[np.int64]
    trained_items_N: NDArray[np.bool_]
    trained_users_U: NDArray[np.bool_]
    splits: dict[str, int]
    positives: int
    ratings: list[float]


class Users:
    """Numbers the users in the order in which their rows come, from ``first`` on."""

    def __init__(self, first: int = 0) -> None:
        self.ids: list[pa.Array] = []
        self.count = first
        self.last: str | None = None

    def number(self, ids: pa.Array) -> NDArray[np.int32]:
        """The user index of each row; rows of one user must be consecutive, also across calls."""
        runs = pc.run_end_encode(ids)
        new = runs.values.slice(1) if runs.values[0].as_py() == self.last else runs.values
        self.ids.append(new)
        first = self.count + len(new) - len(runs.values)
        self.count, self.last = self.count + len(new), runs.values[-1].as_py()
        lengths = np.diff(runs.run_ends.to_numpy(), prepend=0)
        return np.repeat(np.arange(first, self.count, dtype=np.int32), lengths)


class Interim:
    """The folder ``data/interim``.

    Raises:
        DtiError: a file or column is missing, there is no row, or an item id is null or occurs twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "interactions.parquet"
        self.file = _open(self.path)
        names = self.file.schema_arrow.names
        self.types = _TYPES | {name: kind for name, kind in _OPTIONAL.items() if name in names}
        if missing := [name for name in _TYPES if name not in names]:
            raise DtiError(f"{self.path}: no column {missing[0]!r}; it has {', '.join(names)}")
        self.rows = int(self.file.metadata.num_rows)
        if self.rows == 0:
            raise DtiError(f"{self.path}: no interactions; is the source empty?")
        self.items = read_fields(folder / "items.parquet", "item_id")
        self.item_ids = self.items["item_id"].combine_chunks()

    def batches(self, users: Users, first: int = 0, stop: int | None = None) -> Iterator[Columns]:
        """The interactions in the order of the file, all or the rows from ``first`` to ``stop``.

        Raises:
            DtiError: a value is missing or not allowed, or an item is unknown; names file, row and column.
        """
        splits, labels = pa.array(SPLITS), pa.array([0, 1], pa.int8())
        for batch in self._rows(first, self.rows if stop is None else stop):
            arrays = {name: self._column(batch, name, first) for name in self.types}
            user = users.number(arrays.pop("user_id"))
            item = self._index(arrays.pop("item_id"), self.item_ids, "item_id", "is not in items.parquet", first)
            split = self._index(arrays.pop("split"), splits, "split", f"is none of {', '.join(SPLITS)}", first)
            self._index(arrays["label"], labels, "label", "is neither 0 nor 1", first)
            yield {"user": user, "item": item, "split": split, **{k: a.to_numpy() for k, a in arrays.items()}}
            first += len(batch)

    def _rows(self, first: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Read the row groups that hold these rows, and no other rows of them."""
        groups = range(self.file.num_row_groups)
        ends = np.cumsum([self.file.metadata.row_group(group).num_rows for group in groups])
        chosen = groups[int(np.searchsorted(ends, first, "right")) : int(np.searchsorted(ends, stop)) + 1]
        at = int(ends[chosen.start - 1]) if chosen.start else 0
        for batch in self.file.iter_batches(_BATCH, row_groups=list(chosen), columns=list(self.types)):
            begin, end = max(first - at, 0), min(stop - at, len(batch))
            at += len(batch)
            if begin < end:
                yield batch.slice(begin, end - begin)

    def survey(self) -> Survey:
        """Read everything once and count.

        Raises:
            DtiError: as ``batches``; or a user's rows are not consecutive, or there are too many distinct ratings.
        """
        users = Users()
        trained_items = np.zeros(len(self.items), np.bool_)
        trained_users, lengths, ratings = [], [], set[float]()
        splits, positives = np.zeros(len(SPLITS), np.int64), 0
        with Progress("survey", self.rows, "rows") as progress:
            for batch in self.batches(users):
                train = batch["split"] == SPLITS.index("train")
                trained_items[batch["item"][train]] = True
                trained_users.append(np.unique(batch["user"][train]))
                lengths.append(np.unique(batch["user"], return_counts=True))
                splits += np.bincount(batch["split"], minlength=len(SPLITS))
                positives += int(batch["label"].sum(dtype=np.int64))
                ratings.update(np.unique(batch.get("rating", ())).tolist())
                progress.advance(len(train))
        self._check(users, ratings)
        lengths_U, trained = np.zeros(users.count, np.int64), np.zeros(users.count, np.bool_)
        for numbers, counts in lengths:
            lengths_U[numbers] += counts
        trained[np.concatenate(trained_users)] = True
        targets = dict(zip(SPLITS, splits.tolist(), strict=True))
        ids = pa.concat_arrays(users.ids)
        return Survey(ids, lengths_U, trained_items, trained, targets, positives, sorted(ratings))

    def profiles(self, user_ids: pa.Array) -> pa.Table:
        """The profile fields of the given users, in their order.

        Raises:
            DtiError: there is no ``users.parquet``, or a user is not in it.
        """
        path = self.folder / "users.parquet"
        if not path.exists():
            raise DtiError(f"{path}: not found, this source has no profiles; set pack.profile to false")
        table = read_fields(path, "user_id")
        index = pc.index_in(user_ids, value_set=table["user_id"].combine_chunks())
        if index.null_count:
            unknown = user_ids.filter(pc.is_null(index))[0]
            raise DtiError(f"{path}: no row for user_id {unknown.as_py()!r}, who has interactions")
        return table.take(index)

    def _check(self, users: Users, ratings: set[float]) -> None:
        ids = pc.value_counts(pa.concat_arrays(users.ids))
        twice = ids.filter(pc.greater(ids.field("counts"), 1))
        if len(twice):
            user = twice.field("values")[0].as_py()
            raise DtiError(f"{self.path}: the rows of user_id {user!r} are not consecutive; sort by user_id and order")
        if len(ratings) > _MOST_RATINGS:
            raise DtiError(
                f"{self.path}: column rating has {len(ratings)} distinct values, at most {_MOST_RATINGS} make a scale"
            )

    def _column(self, batch: pa.RecordBatch, name: str, first: int) -> pa.Array:
        column = batch[name]
        if column.null_count:
            row = first + pc.index(pc.is_null(column), True).as_py()
            raise DtiError(f"{self.path}: row {row} (counted from 0): column {name} is empty")
        try:
            return column.cast(self.types[name])
        except pa.ArrowInvalid as error:
            raise DtiError(f"{self.path}: column {name} from row {first} on: {error}") from error

    def _index(self, values: pa.Array, known: pa.Array, name: str, why: str, first: int) -> NDArray[np.int32]:
        index = pc.index_in(values, value_set=known)
        if index.null_count:
            row = pc.index(pc.is_null(index), True).as_py()
            raise DtiError(f"{self.path}: row {first + row} (counted from 0): {name} {values[row].as_py()!r} {why}")
        return index.to_numpy()


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run `dvc repro prepare`") from None
    except pa.ArrowInvalid as error:
        raise DtiError(f"{path}: damaged ({error}); remove it and run `dvc repro prepare`") from error


def read_fields(path: Path, key: str) -> pa.Table:
    """Read ``items.parquet`` or ``users.parquet``, every column as text.

    Raises:
        DtiError: missing, damaged, without the column ``key``, or a key is null or occurs twice.
    """
    table = _open(path).read()
    if key not in table.column_names:
        raise DtiError(f"{path}: no column {key!r}; it has {', '.join(table.column_names)}")
    table = table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
    if table[key].null_count:
        raise DtiError(f"{path}: row {pc.index(pc.is_null(table[key]), True)} (counted from 0): column {key} is empty")
    counts = pc.value_counts(table[key])
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise DtiError(f"{path}: {key} {twice.field('values')[0].as_py()!r} occurs twice")
    return table
