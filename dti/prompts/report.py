"""Counts what was packed: nothing lost, nothing doubled, and what a target costs.

Shape suffix: R rows of a shard.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from dti.errors import DtiError
from dti.prompts.build import content_tokens
from dti.prompts.cost import predict
from dti.prompts.packing import Prompts, shard_prompts
from dti.prompts.store import SPLITS, Counts, Store, Targets
from dti.prompts.tokenizer import Texts


def count(store: Store, prompts: Prompts) -> Counts:
    """Everything in the store, counted from the shards themselves."""
    splits, users, positives = np.zeros(len(SPLITS), np.int64), 0, 0
    for shard in store.shards:
        splits += np.bincount(shard.split, minlength=len(SPLITS))
        users += 1 + int(np.count_nonzero(np.diff(shard.user)))
        positives += int(shard.label.sum(dtype=np.int64))
    return Counts(
        users=users,
        items=len(store.item_ids),
        interactions=sum(map(len, store.shards)),
        positives=positives,
        prompts=len(prompts),
        **dict(zip(SPLITS, splits.tolist(), strict=True)),
    )


def verify(store: Store, prompts: Prompts) -> None:
    """Compare the store with what the survey of the interim data counted, and the prompts with the store.

    Raises:
        DtiError: a user, item, interaction or label is lost or doubled, or a training target is not in exactly one
            prompt.
    """
    expected, found = asdict(store.meta.counts), asdict(count(store, prompts))
    for name, value in expected.items():
        if found[name] != value:
            raise DtiError(
                f"{store.folder}: {found[name]} {name} packed, {value} in the interim data; this is a defect"
            )
    for number, shard in enumerate(store.shards):
        mine = prompts.take(np.flatnonzero(prompts.shard == number))
        begins = np.bincount(mine.target_start, minlength=len(shard) + 1)
        ends = np.bincount(mine.target_stop, minlength=len(shard) + 1)
        times_R = np.cumsum(begins - ends)[:-1]
        if not np.array_equal(times_R, shard.split == SPLITS.index("train")):
            raise DtiError(f"{store.folder}: shard {number}: a training target is not in exactly one prompt; a defect")


def training_tokens(store: Store, k: Targets) -> int:
    """Content tokens of all training targets in prompts of k, shard by shard to spare memory."""
    shards = range(len(store.shards))
    return sum(int(content_tokens(store, shard_prompts(store, number, "train", k)).sum()) for number in shards)


def report(store: Store, items: Texts, profiles: Texts) -> dict[str, Any]:
    """The content of ``reports/pack.json``; tokens per target count the probe."""
    meta, counts = store.meta, store.meta.counts
    stored = sum(int(before[-1]) for before in store.content_before)
    content, sliding = training_tokens(store, meta.k), training_tokens(store, 1)
    per_target, sliding_per_target = 1 + content / counts.train, 1 + sliding / counts.train
    return {
        **{name: getattr(meta, name) for name in ("dataset", "title", "backbone", "context_labels", "profile")},
        **{name: getattr(meta, name) for name in ("n", "k", "paradigm", "vocabulary", "digest")},
        **{name: getattr(counts, name) for name in ("users", "items", "interactions", "prompts")},
        "shards": len(store.shards),
        "targets": {name: getattr(counts, name) for name in SPLITS[1:]},
        "context_only": counts.context,
        "content_tokens": content,
        "tokens_per_interaction": round(stored / counts.interactions, 3),
        "tokens_per_target": round(per_target, 3),
        "sliding_tokens_per_target": round(sliding_per_target, 3),
        "counted_ratio": round(sliding_per_target / per_target, 3),
        "padding_share": 0.0,
        "cut_texts": {"items": items.cut, "profiles": profiles.cut},
        "empty_texts": {"items": items.empty, "profiles": profiles.empty},
        "item_tokens": items.own,
        "cost_model": predict(meta.n, meta.k, stored / counts.interactions).rounded(),
    }
