"""Scores of record: every target of a split, as serving would score it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dti.evaluation.metrics import ScoredSplit
from dti.evaluation.parity import Parity
from dti.files import atomic_file
from dti.model.ctr import CtrModel
from dti.model.scoring import logits_of, probability
from dti.prompts.batching import shortened
from dti.prompts.packing import Prompts, recut, stream_prompts
from dti.prompts.row import ranges
from dti.prompts.store import Split, Store


def score_split(
    model: CtrModel, store: Store, split: Split, parity: Parity, tokens: int
) -> tuple[ScoredSplit | None, str | None]:
    """Score all targets of a split, in store order; None where it has none (``data.split: none``).

    The scores of record are taken on serving prompts (k = 1). An isolated model gives a target the same logit in a
    stream; once ``parity`` has shown it, streams of whole histories, which cost a fraction, stand in for them.

    Args:
        tokens: content tokens of one forward pass, at most.

    Returns:
        the scores, and what they were taken on: ``stream`` or ``serving``.
    """
    if getattr(store.meta.counts, split) == 0:
        return None, None
    streams = stream_prompts(store, split, "all")
    on_streams = model.sight.policy == "isolated" and parity.holds
    prompts = shortened(store, streams, tokens) if on_streams else recut(store, streams, 1)
    score = probability(logits_of(model, store, prompts, tokens, split))
    return _columns(store, prompts, score), "stream" if on_streams else "serving"


def _columns(store: Store, prompts: Prompts, score: np.ndarray) -> ScoredSplit:
    """The stored columns of every target beside its score; prompts are in store order, so shards come in turn."""
    parts: dict[str, list[np.ndarray]] = {}
    for number, shard in enumerate(store.shards):
        here = prompts.take(np.flatnonzero(prompts.shard == number))
        place = ranges(here.target_start, here.targets)
        columns = {name: getattr(shard, name)[place] for name in ("user", "item", "label", "timestamp")}
        columns["strict"] = shard.strict(place)
        if shard.probability is not None:
            columns["probability"] = shard.probability[place]
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return ScoredSplit(score=score, probability=joined.pop("probability", None), **joined)


def write_scores(path: Path, store: Store, scored: ScoredSplit | None) -> None:
    """Write user_id, item_id, timestamp, label, score as Parquet; no rows where the split has no targets."""
    empty = np.empty(0, np.int64)
    user, item = (scored.user, scored.item) if scored else (empty, empty)
    table = pa.table(
        {
            "user_id": store.user_ids.take(pa.array(user)),
            "item_id": store.item_ids.take(pa.array(item)),
            "timestamp": pa.array(scored.timestamp if scored else empty, pa.int64()),
            "label": pa.array(scored.label if scored else empty, pa.int8()),
            "score": pa.array(scored.score if scored else empty, pa.float64()),
        }
    )
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="zstd")
