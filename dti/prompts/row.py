"""One row of packed prompts: content first, targets last: a probe for each, of one or several tokens.

Shape suffixes: S content tokens, E encoded texts, M interactions, P prompts, K targets.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Layout = Literal["stream", "unique"]


def ranges(start: Ints, length: Ints) -> Ints:
    """``arange(s, s + l)`` for each pair, one after another: ``ranges([5, 9], [2, 3])`` is ``[5, 6, 9, 10, 11]``."""
    shift = start - (np.cumsum(length) - length)
    return np.repeat(shift, length) + np.arange(length.sum())


def before(length: Ints) -> Ints:
    """The sum of all earlier lengths, for each."""
    return np.cumsum(length) - length


def reach(ends: Ints, low: int, limit: int) -> int:
    """One past the last of the lengths from ``low`` on that fit ``limit`` together, at least ``low + 1``.

    Args:
        ends: running sums of the lengths.
    """
    done = ends[low - 1] if low else 0
    return max(int(np.searchsorted(ends, done + limit, side="right")), low + 1)


@dataclass(frozen=True)
class Row:
    """The structure of a row that holds whole prompts, without holes or padding.

    Content is a list of encoded texts, each an item's (or a prefix's) text tokens with label tokens behind it.
    Interactions refer to them. In a stream each interaction has a text of its own. Two prompts, the first with a
    profile p, contexts a b c, targets b c; the second with context d, target e (x: item text of two tokens, y: label
    token). The label of a prompt's last interaction is left out: nobody reads it. ::

        token         p p ax ax ay bx bx by cx cx | dx dx dy ex ex
        interaction         0  0  0  1  1  1  2  2    3  3  3  4  4      M = 5
        prompt        0 0 0 ...                     1                    P = 2
        probes        interactions 1, 2, 4                               K = 3

    In the unique layout each distinct item stands once, with every label token that the row needs behind it; several
    interactions share it, and prompts share a profile. The same prompts with e = a, labels a: y, b: y, d: z (no)::

        token         ax ax ay bx bx by cx cx dx dx dz pp pp
        interaction   0  0  0  1  1  1  2  2  3  3  3
                      4  4

    A request at serving time has candidates beside one another: each is a target, and none is context of another. They
    share ``order_M``, the place of the first of them. In a stream their texts stand behind all other content, in the
    order of the targets. Two requests with contexts a b and c, candidates d e and f::

        token         ax ax ay bx bx by cx cx cy dx dx ex ex fx fx
        interaction   0  0  0  1  1  1  4  4  4  2  2  3  3  5  5
        order         0  0  0  1  1  1  4  4  4  2  2  2  2  5  5

    Attributes:
        layout: how content is laid out.
        tokens_S: token ids of the content.
        start_E: the first token of each encoded text, ascending.
        text_stop_E: one past its last text token; its label tokens follow.
        stop_E: one past its last label token: where the next text starts.
        start_M: the first token of each interaction's item text.
        text_M: how many text tokens it has.
        label_M: the place of its label token; -1 where the label is left out.
        prompt_M: the prompt that it stands in.
        first_P: the first interaction of each prompt.
        prefix_start_P: the first token of each prompt's prefix (the user's profile).
        prefix_stop_P: one past it; equals ``prefix_start_P`` where there is none.
        target_K: the interaction that each target is, ascending.
        answer_K: the label of each target, 0 or 1.
        place_S: the place of each content token in the store's catalogue; None in streams.
        order_M: the interaction in whose place each stands in its prompt; None: its own.
    """

    layout: Layout
    tokens_S: Ints
    start_E: Ints
    text_stop_E: Ints
    stop_E: Ints
    start_M: Ints
    text_M: Ints
    label_M: Ints
    prompt_M: Ints
    first_P: Ints
    prefix_start_P: Ints
    prefix_stop_P: Ints
    target_K: Ints
    answer_K: Ints
    place_S: Ints | None = None
    order_M: Ints | None = None

    @property
    def beside(self) -> bool:
        """Whether targets stand beside one another, as the candidates of a request do."""
        return self.order_M is not None

    @cached_property
    def orders(self) -> Ints:
        """``order_M``, filled in."""
        return np.arange(self.start_M.size) if self.order_M is None else self.order_M

    @property
    def length_E(self) -> Ints:
        """Tokens of each encoded text, labels included."""
        return self.stop_E - self.start_E
