"""Which prompts stand in a step together: users at random, or prompts that share items.

In the unique layout a step's distinct items are encoded once, so what a step costs is up to its composition. This
module puts together prompts that read the same items (ours). Any target may stand in any step: its logit depends on no
other prompt of the step. What may suffer is learning, as the targets of a step are more alike: AUCs of both stand in
docs/results.md.

Shape suffixes: Q pieces of prompts that wait, A items of the catalogue, N pairs of a piece and an item that it reads.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dti.prompts.build import interactions_of
from dti.prompts.packing import Prompts, first_rows, recut
from dti.prompts.row import Ints, ranges
from dti.prompts.store import Store

Composition = Literal["mixed", "overlapping"]
Seed = tuple[int, int]
PIECE = 50
"""Targets of a piece at most: shorter ones share more, and read more context of their own (docs/log.md)."""
CHUNK = 16_384
"""Pieces among which those of a step are chosen; the steps of a chunk come in random order."""


def epoch_steps(
    store: Store, prompts: Prompts, targets: int, seed: Seed, composition: Composition = "mixed"
) -> Iterator[Prompts]:
    """Yield the epoch's steps: each target once, ``targets`` of them in each step (the last takes the rest).

    Args:
        seed: of the order: the run's seed and the epoch.
        composition: ``overlapping`` for content that is read by itself alone: it cuts prompts as it likes.
    """
    steps = {"mixed": mixed_steps, "overlapping": overlapping_steps}[composition]
    return steps(store, prompts, targets, seed)


def mixed_steps(store: Store, prompts: Prompts, targets: int, seed: Seed) -> Iterator[Prompts]:
    """Yield steps of prompts in random order.

    A prompt that crosses the border of a step is cut there; its second piece gets n context interactions of its own,
    so each target still sees what its prompt would have shown it.
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


def overlapping_steps(store: Store, prompts: Prompts, targets: int, seed: Seed) -> Iterator[Prompts]:
    """Yield steps of prompts that share items.

    A step begins with a random piece of a prompt, and takes again and again the piece that adds the fewest tokens of
    new items per target (greedy; ours).
    """
    random = np.random.default_rng(seed)
    pieces = recut(store, prompts, PIECE)
    pieces, rest = pieces.take(random.permutation(len(pieces))), pieces.take(slice(0))
    for low in range(0, len(pieces), CHUNK):
        waiting = Waiting(store, Prompts.join([rest, pieces.take(slice(low, low + CHUNK))]))
        steps = [waiting.step(targets) for _ in range(waiting.targets // targets)]
        yield from (steps[place] for place in random.permutation(len(steps)))
        rest = waiting.rest()
    if len(rest):
        yield rest


class Waiting:
    """Pieces that wait for a step.

    Args:
        pieces: in the order in which they may begin one.
    """

    def __init__(self, store: Store, pieces: Prompts) -> None:
        self._n, self._first_Q = store.meta.n, first_rows(store, pieces)
        self._pieces = Prompts(*(getattr(pieces, f.name).copy() for f in fields(pieces)))
        self._tokens_A = (store.text_lengths + store.catalogue.labels_A.size).astype(np.float64)
        piece_N, item_N = _pairs(store, pieces)
        # The pairs by piece and by item: whose items, and whose readers, begin where.
        self._item_N, self._item_begin = item_N, _begins(piece_N, len(pieces))
        self._piece_N, self._piece_begin = piece_N[item_N.argsort(kind="stable")], _begins(item_N, self._tokens_A.size)
        self._all_Q = np.bincount(piece_N, self._tokens_A[item_N], len(pieces)).astype(np.float64)

    @property
    def targets(self) -> int:
        """How many targets wait."""
        return int(self._pieces.targets.sum())

    def rest(self) -> Prompts:
        """What waits still."""
        return self._pieces.take(np.flatnonzero(self._pieces.targets))

    def step(self, targets: int) -> Prompts:
        """Take a step of so many targets, or of all that wait; the last piece is cut where they are reached."""
        targets = min(targets, self.targets)
        taken, have_A, new_Q = [], np.zeros(self._tokens_A.size, bool), self._all_Q.copy()
        chosen = int(np.argmax(self._pieces.targets > 0))
        while True:
            taken.append(self._cut(chosen, targets))
            targets -= int(taken[-1].targets[0])
            if not targets:
                return Prompts.join(taken)
            items = self._item_N[slice(*self._item_begin[chosen : chosen + 2])]
            items = items[~have_A[items]]
            have_A[items] = True
            new_Q -= self._saved(items)
            left_Q = self._pieces.targets
            chosen = int(np.argmin(np.where(left_Q > 0, new_Q / np.maximum(left_Q, 1), np.inf)))

    def _saved(self, items: Ints) -> NDArray[np.float64]:
        """Tokens of some items that each piece reads, (Q,)."""
        readers = self._piece_begin[items + 1] - self._piece_begin[items]
        piece_N = self._piece_N[ranges(self._piece_begin[items], readers)]
        return np.bincount(piece_N, np.repeat(self._tokens_A[items], readers), len(self._pieces)).astype(np.float64)

    def _cut(self, place: int, targets: int) -> Prompts:
        """The first targets of a piece, at most so many; the others wait on, with a context of their own."""
        pieces = self._pieces
        start, stop = int(pieces.target_start[place]), int(pieces.target_stop[place])
        end = min(start + targets, stop)
        cut = Prompts(*(np.array([x]) for x in (pieces.shard[place], pieces.context_start[place], start, end)))
        pieces.context_start[place] = max(self._first_Q[place], end - self._n)
        pieces.target_start[place] = end
        return cut


def _pairs(store: Store, pieces: Prompts) -> tuple[Ints, Ints]:
    """Each piece beside each distinct item that it reads, by piece."""
    found = interactions_of(store, pieces)
    items = store.text_lengths.size
    piece_N, item_N = np.divmod(np.unique(found.prompt_M * items + found.item_M), items)
    return piece_N, item_N


def _begins(owner_N: Ints, owners: int) -> Ints:
    """Where each owner's run begins once they are sorted, and the end of the last."""
    return np.append(0, np.cumsum(np.bincount(owner_N, minlength=owners)))
