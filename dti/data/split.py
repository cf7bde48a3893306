"""The split by global time: training targets come before validation targets, and those before test targets."""

from dataclasses import dataclass

import polars as pl

from dti.data.tables import ROW
from dti.errors import DtiError

SPLITS = pl.Enum(["context", "train", "valid", "test"])


@dataclass(frozen=True)
class Cut:
    """The first target that is too late: its time in seconds since 1970, and its row in the file for ties."""

    timestamp: int
    row: int

    def before(self) -> pl.Expr:
        """True for the interactions earlier than the cut."""
        time = pl.col("timestamp")
        return (time < self.timestamp) | ((time == self.timestamp) & (pl.col(ROW) < self.row))


def _cuts(targets: pl.DataFrame) -> tuple[Cut, Cut]:
    """Where validation and test begin, after floor(0.8 M) and floor(0.8 M) + floor(0.1 M) targets."""
    ordered = targets.sort("timestamp", ROW)
    train = len(ordered) * 8 // 10
    valid = len(ordered) // 10
    first, second = (Cut(*ordered.row(place)) for place in (train, train + valid))
    return first, second


def _period(valid: Cut, test: Cut) -> pl.Expr:
    train = pl.when(valid.before()).then(pl.lit("train", SPLITS))
    return train.when(test.before()).then(pl.lit("valid", SPLITS)).otherwise(pl.lit("test", SPLITS))


def split(frame: pl.DataFrame, min_context: int, by_time: bool) -> pl.DataFrame:
    """Add the column ``split`` to interactions with ``order``, ``timestamp`` and the row in their file.

    Interactions with fewer than ``min_context`` earlier ones are context, the others targets.

    Raises:
        DtiError: no target is left, or too few of them for three splits.
    """
    target = pl.col("order") >= min_context
    targets = frame.filter(target).select("timestamp", ROW)
    least = 10 if by_time else 1
    if len(targets) < least:
        raise DtiError(
            f"only {len(targets)} of {len(frame)} interactions have {min_context} earlier ones of their user, but "
            f"{least} targets are needed; lower data.min_context in params.yaml, or get more data"
        )
    kind = _period(*_cuts(targets)) if by_time else pl.lit("train", SPLITS)
    return frame.with_columns(split=pl.when(target).then(kind).otherwise(pl.lit("context", SPLITS)))
