"""A process's share of a step and of validation: whole prompts, each in exactly one process."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dti.model.ctr import CtrModel
from dti.model.scoring import logits_of
from dti.prompts.batching import passes, rows
from dti.prompts.build import content_tokens
from dti.prompts.packing import Prompts
from dti.prompts.row import Ints, Layout, Row, before, ranges
from dti.prompts.store import Store
from dti.training.ranks import Ranks


@dataclass(frozen=True)
class Batch:
    """What one process does in a step.

    Attributes:
        rows: a pass each.
        idle: how many of them, the last ones, count nothing: all processes make the same number of passes, as the
            engines exchange weights or gradients in each.
        targets: of the whole step, in all processes.
    """

    rows: list[Row]
    idle: int
    targets: int


def deal(store: Store, prompts: Prompts, count: int) -> list[Ints]:
    """Deal prompts out to ``count`` processes, the longest first, each to the one with the fewest tokens so far.

    Returns:
        for each process the places of its prompts, ascending; none where there are too few.
    """
    tokens_P = content_tokens(store, prompts) + prompts.targets
    load = [(0, rank) for rank in range(count)]
    owner_P = np.empty(len(prompts), np.int64)
    for place in np.argsort(-tokens_P, kind="stable"):
        least, rank = load[0]
        owner_P[place] = rank
        heapq.heapreplace(load, (least + int(tokens_P[place]), rank))
    return [np.flatnonzero(owner_P == rank) for rank in range(count)]


def batch_of(store: Store, prompts: Prompts, tokens: int, layout: Layout, ranks: Ranks) -> Batch:
    """This process's rows of a step."""
    targets = int(prompts.targets.sum())
    if ranks.alone:
        return Batch(list(rows(store, prompts, tokens, layout)), 0, targets)
    mine, idle = _mine(store, prompts, tokens, layout, ranks)
    own = list(rows(store, prompts.take(mine), tokens, layout))
    return Batch(own + [_smallest(store, prompts, layout)] * idle, idle, targets)


def scores(
    model: CtrModel, store: Store, prompts: Prompts, tokens: int, ranks: Ranks, stop: Callable[[], bool]
) -> np.ndarray:
    """The logits of ``logits_of``, each process computing those of its share.

    Args:
        stop: asked before each pass, in all processes together.

    Raises:
        KeyboardInterrupt: ``stop`` said so.
    """
    mine, idle = _mine(store, prompts, tokens, model.layout, ranks)
    logits_K, own_P = np.zeros(int(prompts.targets.sum())), prompts.take(mine)
    if len(mine):
        places = ranges(before(prompts.targets)[mine], own_P.targets)
        logits_K[places] = logits_of(model, store, own_P, tokens, "validation", stop)
    model.eval()
    for _ in range(idle):
        if stop():
            raise KeyboardInterrupt
        with torch.no_grad():
            model(_smallest(store, prompts, model.layout))
    model.train()
    return ranks.sum(torch.from_numpy(logits_K)).numpy()


def _mine(store: Store, prompts: Prompts, tokens: int, layout: Layout, ranks: Ranks) -> tuple[Ints, int]:
    """The places of this process's prompts, and how many passes it makes fewer than the one with most."""
    parts = deal(store, prompts, ranks.count)
    counts = [len(passes(store, prompts.take(part), tokens, layout)) for part in parts]
    return parts[ranks.rank], max(counts) - counts[ranks.rank]


def _smallest(store: Store, prompts: Prompts, layout: Layout) -> Row:
    """A row of the shortest prompt, for passes that count nothing."""
    place = int(np.argmin(content_tokens(store, prompts)))
    return next(rows(store, prompts.take(slice(place, place + 1)), 1, layout))
