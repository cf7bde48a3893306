"""Scores of record: every target of a split, as serving would score it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dti.evaluation.metrics import ScoredSplit
from dti.files import atomic_file
from dti.model.ctr import CtrModel
from dti.model.scoring import logits_of, probability
from dti.prompts.packing import Prompts, ranges, recut, stream_prompts
from dti.prompts.store import Split, Store

TOLERANCE = 1e-5
"""Streaming logits that differ from serving logits by more than this are not used."""


@dataclass(frozen=True)
class Agreement:
    """How the scores were taken: on serving prompts (k = 1), or on streams after these proved equal."""

    scored_on: str
    targets: int
    max_logit_gap: float


def choose_prompts(
    model: CtrModel, store: Store, split: Split, agree_targets: int, tokens: int
) -> tuple[Prompts, Agreement]:
    """The prompts to score a split on.

    An isolated model gives a target the same logit in a stream and in its serving prompt. That is checked on the
    targets of randomly chosen users before streams, which cost a fraction, stand in for serving prompts.

    Args:
        agree_targets: how many targets to compare, at least (all, where there are fewer).
        tokens: content tokens of one forward pass, at most.
    """
    streams = stream_prompts(store, split, "all")
    if model.sight.policy != "isolated":
        return recut(store, streams, 1), Agreement("serving", 0, 0.0)
    shuffled = streams.take(np.random.default_rng(0).permutation(len(streams)))
    some = shuffled.take(slice(0, int(np.searchsorted(np.cumsum(shuffled.targets), agree_targets)) + 1))
    streamed = logits_of(model, store, some, tokens, f"{split}, sample as streams")
    served = logits_of(model, store, recut(store, some, 1), tokens, f"{split}, sample as serving prompts")
    gap = float(np.abs(streamed - served).max())
    if gap <= TOLERANCE:
        return streams, Agreement("stream", streamed.size, gap)
    print(f"{split}: streaming logits differ from serving logits by {gap:.1e}; scoring on serving prompts", flush=True)
    return recut(store, streams, 1), Agreement("serving", streamed.size, gap)


def score_split(
    model: CtrModel, store: Store, split: Split, agree_targets: int, tokens: int
) -> tuple[ScoredSplit | None, Agreement | None]:
    """Score all targets of a split, in store order; None where it has none (``data.split: none``)."""
    if getattr(store.meta.counts, split) == 0:
        return None, None
    prompts, agreement = choose_prompts(model, store, split, agree_targets, tokens)
    score = probability(logits_of(model, store, prompts, tokens, split))
    return _columns(store, prompts, score), agreement


def _columns(store: Store, prompts: Prompts, score: np.ndarray) -> ScoredSplit:
    """The stored columns of every target beside its score; prompts are in store order, so shards come in turn."""
    parts: dict[str, list[np.ndarray]] = {}
    for number, shard in enumerate(store.shards):
        here = prompts.take(np.flatnonzero(prompts.shard == number))
        place = ranges(here.target_start, here.targets)
        before = shard.timestamp[np.maximum(place - 1, 0)]
        columns = {name: getattr(shard, name)[place] for name in ("user", "item", "label", "timestamp")}
        columns["strict"] = (shard.order[place] > 0) & (before < shard.timestamp[place])
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
