"""Prompts as ranges over the packed store: sliding (k = 1) and stream (k = 5, 50, ... or all) alike.

Shape suffixes: P prompts, R runs (a user's consecutive targets of one split).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from dti.errors import DtiError
from dti.prompts.row import Ints, ranges
from dti.prompts.store import SPLITS, Shard, Split, Store, Targets, read_batch, write_batch

PROMPTS_SCHEMA = pa.schema([(name, pa.int64()) for name in ("shard", "context_start", "target_start", "target_stop")])


@dataclass(frozen=True)
class Prompts:
    """Prompts as ranges: context ``[context_start, target_start)``, targets ``[target_start, target_stop)``.

    Attributes:
        shard: the shard of each prompt, int64 of shape P.
        context_start, target_start, target_stop: rows in that shard, int64 of shape P.
    """

    shard: Ints
    context_start: Ints
    target_start: Ints
    target_stop: Ints

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def targets(self) -> Ints:
        """How many targets each prompt carries."""
        return self.target_stop - self.target_start

    def take(self, index: Ints | slice) -> Self:
        """The prompts at ``index``, in that order."""
        return type(self)(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def join(cls, parts: Sequence["Prompts"]) -> Self:
        """All prompts of ``parts``, one after another."""
        empty = np.empty(0, np.int64)
        return cls(*(np.concatenate([empty, *(getattr(part, f.name) for part in parts)]) for f in fields(cls)))


def cut(first_R: Ints, start_R: Ints, stop_R: Ints, n: int, k: Targets) -> tuple[Ints, Ints, Ints]:
    """Cut each run of targets ``[start, stop)`` into prompts of k targets; the last one of a run takes what is left.

    A prompt's context is the n interactions before its first target, or as many as the user has: it never crosses
    ``first``, the user's first row. A small case, n = 2, k = 2, a user's rows 0 to 5 of which 1 to 5 are targets::

        row        0 1 2 3 4 5
        prompt 0   c t t              context [0, 1)  targets [1, 3)
        prompt 1     c c t t          context [1, 3)  targets [3, 5)
        prompt 2         c c t        context [3, 5)  targets [5, 6)

    Returns:
        context_start, target_start, target_stop, each of shape P, in the order of the runs.
    """
    length_R = stop_R - start_R
    size_R = length_R if k == "all" else np.full_like(length_R, k)
    pieces_R = -(-length_R // np.maximum(size_R, 1))
    size_P, first_P, stop_P = (np.repeat(a, pieces_R) for a in (size_R, first_R, stop_R))
    target_start = np.repeat(start_R, pieces_R) + ranges(np.zeros_like(pieces_R), pieces_R) * size_P
    return np.maximum(first_P, target_start - n), target_start, np.minimum(target_start + size_P, stop_P)


def runs(shard: Shard, split: Split) -> tuple[Ints, Ints, Ints]:
    """Each user's consecutive targets of ``split``: the user's first row, the run's first row and one past its last."""
    rows = np.flatnonzero(shard.split == SPLITS.index(split))
    breaks = np.flatnonzero((np.diff(rows) > 1) | (np.diff(shard.user[rows]) != 0)) + 1
    start = rows[np.append(0, breaks)] if len(rows) else rows
    stop = rows[np.append(breaks, len(rows)) - 1] + 1 if len(rows) else rows
    return start - shard.order[start], start, stop


def shard_prompts(store: Store, number: int, split: Split, k: Targets) -> Prompts:
    """All targets of ``split`` in one shard, in prompts of k."""
    ranged = cut(*runs(store.shards[number], split), store.meta.n, k)
    return Prompts(np.full(len(ranged[0]), number, np.int64), *ranged)


def stream_prompts(store: Store, split: Split, k: Targets) -> Prompts:
    """All targets of ``split`` in prompts of k, each target once, in the order of the store."""
    return Prompts.join([shard_prompts(store, number, split, k) for number in range(len(store.shards))])


def serving_prompts(store: Store, split: Split) -> Prompts:
    """One prompt per target of ``split`` with its n preceding interactions: what serving sees (k = 1)."""
    return stream_prompts(store, split, 1)


def recut(store: Store, prompts: Prompts, k: Targets) -> Prompts:
    """The same targets in prompts of k, in the same order."""
    first_P = first_rows(store, prompts)
    context, start, stop = cut(first_P, prompts.target_start, prompts.target_stop, store.meta.n, k)
    pieces_P = -(-prompts.targets // k) if k != "all" else np.ones_like(first_P)
    return Prompts(np.repeat(prompts.shard, pieces_P), context, start, stop)


def some_users(store: Store, prompts: Prompts, targets: int, seed: int) -> Prompts:
    """The prompts of users drawn at random, who have at most ``targets`` targets in all; of one user at least.

    The draw depends on who has prompts and how many targets, not on how these are cut into prompts. A smaller one is
    part of every larger one. Prompts keep their order.
    """
    _, user_P = np.unique([prompts.shard, first_rows(store, prompts)], axis=1, return_inverse=True)
    drawn_U = np.random.default_rng(seed).permutation(user_P.max() + 1)
    turn_P = np.argsort(drawn_U)[user_P]  # when a prompt's user is drawn
    users = max(1, int(np.searchsorted(np.cumsum(np.bincount(turn_P, prompts.targets)), targets, side="right")))
    return prompts.take(np.flatnonzero(turn_P < users))


def first_rows(store: Store, prompts: Prompts) -> Ints:
    """The first row of each prompt's user in its shard, int64 of shape P."""
    first_P = np.empty(len(prompts), np.int64)
    for number, shard in enumerate(store.shards):
        here = prompts.shard == number
        target = prompts.target_start[here]
        first_P[here] = target - shard.order[target]
    return first_P


def write_prompts(path: Path, prompts: Prompts) -> None:
    """Write prompts as an Arrow IPC file."""
    write_batch(path, vars(prompts), PROMPTS_SCHEMA)


def training_prompts(store: Store) -> Prompts:
    """The training prompts that the pack stage stored, memory-mapped.

    Raises:
        DtiError: ``prompts.arrow`` is missing, damaged or does not hold every training target.
    """
    path = store.folder / "prompts.arrow"
    batch = read_batch(path, PROMPTS_SCHEMA)
    prompts = Prompts(*(batch[name].to_numpy(zero_copy_only=True) for name in PROMPTS_SCHEMA.names))
    if prompts.targets.sum() != store.meta.counts.train:
        raise DtiError(f"{path}: damaged (other targets than meta.json counts); pack again with `dvc repro pack`")
    return prompts
