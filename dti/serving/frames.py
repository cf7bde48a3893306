"""Requests in a Parquet file: a row is a user with candidates; the answer is the same table with scores.

Columns: ``candidates`` (list of strings), and either ``history`` (list of structs of item_id and label) or ``user_id``,
whose whole history in the packed store counts. ``profile`` (a struct of the profile's fields) for models that read
profiles. Other columns are passed on.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dti.errors import DtiError
from dti.files import atomic_file
from dti.model.adapter import Record
from dti.prompts.store import Store
from dti.serving.batch import Line, scored
from dti.serving.scorer import Scorer

ROWS = 1000
"""Rows that are read together."""
History = list[dict[str, Any]]


def score_frame(scorer: Scorer, source: Path, output: Path, packed: Path) -> None:
    """Score the rows of ``source`` into ``output``, resumably.

    Args:
        packed: the packed store with the users' histories, where there is no column ``history``.

    Raises:
        DtiError: a column is missing, a user is unknown, or a row is a wrong request.
    """
    frame = _open(source)
    columns = frame.collect_schema().names()
    _check(columns, source, scorer.bundle.record)
    history = None if "history" in columns else _histories(packed, scorer.bundle.record)
    count = frame.select(pl.len()).collect().item()
    with scored(scorer, _lines(frame, source, count, history), count, output) as answers:
        scores = pl.scan_ndjson(answers, schema={"scores": pl.List(pl.Float64)})
        with atomic_file(output) as partial:
            pl.concat([frame, scores], how="horizontal").sink_parquet(partial)


def _open(source: Path) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(source, glob=False)
        frame.collect_schema()
    except FileNotFoundError:
        raise DtiError(f"{source}: not found") from None
    except pl.exceptions.PolarsError as error:
        raise DtiError(f"{source}: no valid Parquet ({error})") from None
    return frame


def _check(columns: list[str], source: Path, record: Record) -> None:
    wanted = [("candidates",), ("history", "user_id"), *([("profile",)] if record.profile else [])]
    for names in wanted:
        if not set(names) & set(columns):
            raise DtiError(f"{source}: no column {' or '.join(names)}; it has {', '.join(columns)}")
    if "scores" in columns:
        raise DtiError(f"{source}: it has a column scores already; drop it")


def _lines(
    frame: pl.LazyFrame, source: Path, count: int, history: Callable[[str, str], History] | None
) -> Iterator[Line]:
    for first in range(0, count, ROWS):
        for number, row in enumerate(frame.slice(first, ROWS).collect().iter_rows(named=True), first):
            name = f"{source}: row {number} (counted from 0)"
            done = history(row["user_id"], name) if history else row["history"]
            request = {"history": done, "candidates": row["candidates"]}
            if "profile" in row:
                request["profile"] = row["profile"]
            yield Line(name, json.dumps(request).encode())


def _histories(packed: Path, record: Record) -> Callable[[str, str], History]:
    """A function that gives a user's whole history in the store, as requests have it."""
    store, ids = Store.open(packed), record.tokens
    binary = {ids.no: 0.0, ids.yes: 1.0}
    label_of = binary if record.context_labels == "binary" else {t: float(r) for r, t in ids.ratings.items()}
    if (store.meta.context_labels, store.meta.tokens) != (record.context_labels, ids):
        raise DtiError(f"{packed}: packed with other labels or tokens than the model was trained with")
    user_of = {user: number for number, user in enumerate(store.user_ids.to_pylist())}
    last_user = [int(shard.user[-1]) for shard in store.shards]
    item_ids = store.item_ids

    def history(user: str, name: str) -> History:
        if (number := user_of.get(user)) is None:
            raise DtiError(f"{name}: user_id {user!r} is not in {packed}; give a column history")
        shard = store.shards[int(np.searchsorted(last_user, number))]
        low, high = np.searchsorted(shard.user, [number, number + 1])
        pairs = zip(shard.item[low:high].tolist(), shard.context_label[low:high].tolist(), strict=True)
        return [{"item_id": item_ids[item].as_py(), "label": label_of[token]} for item, token in pairs][
            -record.sight.n :
        ]

    return history
