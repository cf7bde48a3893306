"""The files that prepare makes, and the summary of what is in them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from dti.data.raw import Check

ROWS = 250_000  # rows per row group: what pack holds at once
COLUMNS = ("user_id", "item_id", "label", "rating", "timestamp", "order", "split", "probability")


def write_interim(folder: Path, frame: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame | None) -> None:
    """Write ``interactions.parquet``, ``items.parquet`` and, where there are profiles, ``users.parquet``."""
    columns = [name for name in COLUMNS if name in frame.columns]
    strings = pl.col("user_id", "item_id", "split").cast(pl.String)
    lazy = frame.lazy().select(columns).with_columns(strings)
    lazy.sink_parquet(folder / "interactions.parquet", row_group_size=ROWS, engine="streaming")
    items.write_parquet(folder / "items.parquet")
    if users is not None:
        users.write_parquet(folder / "users.parquet")


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def summarise(
    frame: pl.DataFrame, items: int, users_read: int, source: dict[str, Any], checks: Sequence[Check]
) -> dict[str, Any]:
    """The content of ``reports/data.json``; times are ISO 8601 in UTC.

    Args:
        users_read: how many users there were before ``data.users`` kept some of them.
    """
    time = pl.col("timestamp")
    parts = frame.group_by("split").agg(pl.len(), time.min().alias("first"), time.max().alias("last")).sort("split")
    rows = {row["split"]: row for row in parts.iter_rows(named=True)}
    users = frame["user_id"].n_unique()
    rate, first, last = frame.select(pl.col("label").mean(), time.min().alias("first"), time.max().alias("last")).row(0)
    return {
        "dataset": source["name"],
        "title": source["title"],
        "sha256": source["sha256"],
        "official": source["official"],
        "interactions": len(frame),
        "users": users,
        "users_kept": {"kept": users, "of": users_read},
        "items": items,
        "label_rate": round(rate, 6),
        "first_time": _iso(first),
        "last_time": _iso(last),
        "splits": {name: rows[name]["len"] if name in rows else 0 for name in ("train", "valid", "test", "context")},
        "split_times": {name: [_iso(row["first"]), _iso(row["last"])] for name, row in rows.items()},
        "checks": [asdict(check) for check in checks],
    }
