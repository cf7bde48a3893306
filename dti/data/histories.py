"""Raw interactions to every user's history in time.

Ids are held as polars Enums (4 bytes each, sorted as the strings are), so that tens of millions of rows fit in memory.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from dti.data.raw import Check
from dti.data.tables import ROW, Table
from dti.data.times import WHOLE, Clock
from dti.errors import DtiError
from dti.workers import Mapper

AT_ONCE = 1_000_000
"""Interactions of about one part; a part holds whole users."""
MOST_RATINGS = 20  # as the pack stage takes them
FRACTION = "fraction"  # microseconds beyond the second, where the source tells them
PART = "part"


def _ids(table: Table, column: str) -> pl.Enum:
    found = table.frame.select(pl.col(column).unique()).collect(engine="streaming").to_series()
    return pl.Enum(found.sort())


def _columns(table: Table, threshold: float, clock: Clock) -> list[pl.Expr]:
    """Time, label, rating and probability as numbers, as far as the source has them."""
    time = clock.microseconds("timestamp")
    columns = [(time // 1_000_000).alias("timestamp")]
    if clock.fine:
        columns.append((time % 1_000_000).cast(pl.Int32).alias(FRACTION))
    if "rating" in table.columns:
        rating = pl.col("rating").cast(pl.Float32)
        columns += [(rating > threshold).cast(pl.Int8).alias("label"), rating]
    else:
        columns.append(pl.col("label").cast(pl.Int8))
    if "probability" in table.columns:
        columns.append(pl.col("probability").cast(pl.Float32))
    return columns


def read_interactions(
    table: Table, items: pl.Series, threshold: float, clock: Clock = WHOLE
) -> tuple[pl.DataFrame, list[Check]]:
    """The interactions with known items, typed, in file order; where there are ratings, label = rating > threshold.

    Raises:
        DtiError: no interaction is with a known item.
    """
    users, known = _ids(table, "user_id"), pl.Enum(items.sort())
    ids = [pl.col("user_id").cast(users), pl.col("item_id").cast(known, strict=False)]
    frame = table.frame.select(*ids, *_columns(table, threshold, clock), ROW).collect(engine="streaming")
    unknown = frame["item_id"].null_count()
    if unknown == len(frame):
        raise DtiError(f"{table.name}: none of the {len(frame)} interactions is with an item of the items file")
    kept = frame.drop_nulls("item_id") if unknown else frame
    lost = len(set(_ids(table, "item_id").categories) - set(items)) if unknown else 0
    return kept, [
        Check("interactions with unknown items", unknown, "dropped"),
        Check("items that interactions name and the items file lacks", lost, "their interactions are dropped"),
    ]


def keep_scale(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Check]]:
    """Ratings of more than ``MOST_RATINGS`` values are a measurement, no scale: labels alone stay."""
    if "rating" not in frame.columns or (values := frame["rating"].n_unique()) <= MOST_RATINGS:
        return frame, []
    return frame.drop("rating"), [Check("distinct ratings, too many for a scale", values, "only labels are kept")]


def _same_user() -> pl.Expr:
    return pl.col("user_id") == pl.col("user_id").shift(1)


def _time_of(frame: pl.DataFrame) -> list[str]:
    return [name for name in ("timestamp", FRACTION, ROW) if name in frame.columns]


def _ranked(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows numbered anew in the order of time, so that fractions of a second break ties from here on."""
    places = frame.select(pl.arg_sort_by(_time_of(frame))).to_series().to_numpy()
    rank = np.empty(len(places), np.uint32)
    rank[places] = np.arange(len(places), dtype=np.uint32)
    return frame.drop(FRACTION).with_columns(pl.Series(ROW, rank))


def _parts(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Parts of about ``AT_ONCE`` interactions, the users in the order of their ids; one part where there are few."""
    if len(frame) <= AT_ONCE:
        yield frame
        return
    user = frame["user_id"].to_physical().to_numpy()
    part_of_user = (np.cumsum(np.bincount(user)) - 1) // AT_ONCE
    parts = frame.with_columns(pl.Series(PART, part_of_user[user])).partition_by(PART, as_dict=True, include_key=False)
    yield from (parts.pop(key) for key in sorted(parts))


def _ordered(part: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """Some users' histories in time, ties in file order; how many rows were out of order, and how many duplicates.

    Of interactions with the same user, item and second the last in the file stays: the source's latest word.
    """
    ordered = part.sort("user_id", *_time_of(part))
    backwards = ordered.select((_same_user() & (pl.col(ROW) < pl.col(ROW).shift(1))).sum()).item()
    kept = ordered.filter(pl.struct("user_id", "item_id", "timestamp").is_last_distinct())
    order = pl.int_range(pl.len(), dtype=pl.Int32).over("user_id").alias("order")
    return kept.with_columns(order), backwards, len(ordered) - len(kept)


def _counts(frame: pl.DataFrame) -> list[Check]:
    tie = _same_user() & (pl.col("timestamp") == pl.col("timestamp").shift(1))
    pairs = pl.struct("user_id", "item_id").n_unique()
    ties, again, items = frame.select(
        tie.sum().alias("ties"), (pl.len() - pairs).alias("again"), pl.col("item_id").n_unique().alias("items")
    ).row(0)
    lengths = frame.group_by("user_id").len()["len"]
    categories = frame.schema["item_id"]
    assert isinstance(categories, pl.Enum)
    return [
        Check("interactions in the same second as their user's previous one", ties, "kept in file order"),
        Check("repeated interactions (same user and item, another time)", again, "all kept"),
        Check("items without an interaction", len(categories.categories) - items, "kept"),
        Check("users with one interaction", int((lengths == 1).sum()), "kept; their interaction is no target"),
    ]


def histories(frame: pl.DataFrame, mapper: Mapper = map) -> tuple[pl.DataFrame, list[Check]]:
    """Sorted by user and time, without duplicates, with each interaction's 0-based ``order`` in its user's history.

    Args:
        mapper: puts the parts in order.
    """
    parts, backwards, repeated = zip(*mapper(_ordered, _parts(frame)), strict=True)
    kept = pl.concat(parts)
    if FRACTION in kept.columns:
        kept = _ranked(kept)
    return kept, [
        Check("interactions later in time but earlier in the file than the one before", sum(backwards), "sorted"),
        Check("duplicate interactions (same user, item and second)", sum(repeated), "the file's last kept"),
        *_counts(kept),
    ]
