"""Steps of exactly as many targets as asked for, with users mixed; passes that fit the memory."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from dti.prompts.build import content_tokens
from dti.prompts.packing import Prompts, first_rows, ranges
from dti.prompts.store import Store


def epoch_steps(store: Store, prompts: Prompts, targets: int, seed: tuple[int, int]) -> Iterator[Prompts]:
    """Yield the epoch's steps: all prompts in random order, ``targets`` targets in each step (the last takes the rest).

    A prompt that crosses the border of a step is cut there; its second piece gets n context interactions of its own,
    so each target still sees what its prompt would have shown it.

    Args:
        seed: of the order: the run's seed and the epoch.
    """
    shuffled = prompts.take(np.random.default_rng(seed).permutation(len(prompts)))
    first_P = first_rows(store, shuffled)
    stop_P = np.cumsum(shuffled.targets)
    begin_P = stop_P - shuffled.targets
    pieces_P = (stop_P - 1) // targets - begin_P // targets + 1
    owner = np.repeat(np.arange(len(shuffled)), pieces_P)
    step = (begin_P // targets)[owner] + ranges(np.zeros_like(pieces_P), pieces_P)
    shift = shuffled.target_start[owner] - begin_P[owner]
    start = np.maximum(begin_P[owner], step * targets) + shift
    stop = np.minimum(stop_P[owner], (step + 1) * targets) + shift
    whole = start == shuffled.target_start[owner]
    context = np.where(whole, shuffled.context_start[owner], np.maximum(first_P[owner], start - store.meta.n))
    cut = Prompts(shuffled.shard[owner], context, start, stop)
    borders = np.flatnonzero(np.diff(step, prepend=-1))
    for low, high in zip(borders, np.append(borders[1:], len(step)), strict=True):
        yield cut.take(slice(low, high))


def passes(store: Store, prompts: Prompts, tokens: int) -> list[Prompts]:
    """Cut a list of prompts into consecutive passes of at most ``tokens`` content tokens (at least one prompt each)."""
    ends = np.cumsum(content_tokens(store, prompts))
    cuts, done = [0], 0
    while cuts[-1] < len(prompts):
        cuts.append(max(int(np.searchsorted(ends, done + tokens, side="right")), cuts[-1] + 1))
        done = int(ends[cuts[-1] - 1])
    return [prompts.take(slice(low, high)) for low, high in pairwise(cuts)]
