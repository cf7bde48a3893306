"""Every text that a row can hold, with every label token behind it, in one fixed order.

Isolated content depends on its own text and label alone, so the states of the whole catalogue can be computed once.

Shape suffixes as in ``row.py``; X texts of the catalogue (items, then distinct profiles), A label tokens, U users, B
label tokens of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dti.prompts.row import Ints, Row, before, ranges, reach

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Laid:
    """Some texts of the catalogue with some of their labels, laid out one after another.

    Attributes:
        start_E, length_E, stop_E: each text's first token, its text tokens, and one past its last label.
        label_B: the place of each label token, in order.
        tokens_S, place_S: token ids, and places in the catalogue.
    """

    start_E: Ints
    length_E: Ints
    stop_E: Ints
    label_B: Ints
    tokens_S: Ints
    place_S: Ints


@dataclass(frozen=True)
class Catalogue:
    """The texts of a store and their places.

    Attributes:
        tokens: all texts' tokens.
        offset_X, length_X: where each text's tokens stand in ``tokens``, and how many they are.
        labels_A: all label tokens, ascending; they stand behind each item, not behind profiles.
        items: how many of the texts are items.
        profile_U: the text of each user's profile; -1 where it is empty.
        start_X: the place of each text among all tokens of the catalogue, labels counted.
        size: how many these are.
    """

    tokens: Ints
    offset_X: Ints
    length_X: Ints
    labels_A: Ints
    items: int
    profile_U: Ints
    start_X: Ints = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        whole_X = self.length_X + self.labels_A.size * (np.arange(self.length_X.size) < self.items)
        object.__setattr__(self, "start_X", before(whole_X))
        object.__setattr__(self, "size", int(whole_X.sum()))

    @classmethod
    def of(
        cls, item_tokens: Tokens, item_offsets: Ints, profile_tokens: Tokens, profile_offsets: Ints, labels: Ints
    ) -> Self:
        """The catalogue of a store's items and users; profiles of the same text are one."""
        profile_U, first = _distinct(profile_tokens, profile_offsets)
        items = item_offsets.size - 1
        return cls(
            tokens=np.concatenate([item_tokens, profile_tokens]).astype(np.int64),
            offset_X=np.append(item_offsets[:-1], item_offsets[-1] + profile_offsets[first]),
            length_X=np.append(np.diff(item_offsets), np.diff(profile_offsets)[first]),
            labels_A=np.unique(labels),
            items=items,
            profile_U=np.where(profile_U >= 0, items + profile_U, -1),
        )

    def extended(self, tokens: Ints, length_X: Ints) -> Self:
        """The catalogue with more items behind all others; it must have no profiles.

        Args:
            tokens: the new texts' tokens, one text after another.
            length_X: their lengths.
        """
        assert self.items == self.length_X.size
        return replace(
            self,
            tokens=np.concatenate([self.tokens, tokens]),
            offset_X=np.append(self.offset_X, self.tokens.size + before(length_X)),
            length_X=np.append(self.length_X, length_X),
            items=self.items + length_X.size,
        )

    def lay(self, text_E: Ints, owner_B: Ints, rank_B: Ints) -> Laid:
        """Lay texts out with labels behind them.

        Args:
            text_E: the texts' numbers.
            owner_B, rank_B: for each label token, ascending: the text before it (its place in ``text_E``), and its
                number among all labels.
        """
        length_E, labels_E = self.length_X[text_E], np.bincount(owner_B, minlength=text_E.size)
        start_E = before(length_E + labels_E)
        label_B = (start_E + length_E)[owner_B] + ranges(np.zeros_like(labels_E), labels_E)
        texts = ranges(start_E, length_E)
        tokens_S, place_S = np.empty((2, texts.size + label_B.size), np.int64)
        tokens_S[texts] = self.tokens[ranges(self.offset_X[text_E], length_E)]
        tokens_S[label_B] = self.labels_A[rank_B]
        place_S[texts] = ranges(self.start_X[text_E], length_E)
        place_S[label_B] = (self.start_X + self.length_X)[text_E[owner_B]] + rank_B
        return Laid(start_E, length_E, start_E + length_E + labels_E, label_B, tokens_S, place_S)

    def rows(self, tokens: int, low: int = 0) -> Iterator[Row]:
        """The catalogue from text ``low`` on in rows without probes, of at most ``tokens`` tokens (or of one text)."""
        ends = np.append(self.start_X[1:], self.size)
        while low < self.length_X.size:
            high = reach(ends, low, tokens)
            yield self._row(low, high)
            low = high

    def _row(self, low: int, high: int) -> Row:
        labels, items = self.labels_A.size, max(0, min(high, self.items) - low)
        laid = self.lay(np.arange(low, high), np.repeat(np.arange(items), labels), np.tile(np.arange(labels), items))
        none = np.empty(0, np.int64)
        return Row("unique", laid.tokens_S, laid.start_E, laid.start_E + laid.length_E, laid.stop_E, *[none] * 9)


def _distinct(tokens: Tokens, offsets: Ints) -> tuple[Ints, Ints]:
    """Each text's number among the distinct ones (-1: empty), and a text that has each of them."""
    length = np.diff(offsets)
    table = np.full((length.size, int(length.max(initial=0))), -1, np.int64)
    table[np.repeat(np.arange(length.size), length), ranges(np.zeros_like(length), length)] = tokens
    number, filled = np.full(length.size, -1, np.int64), np.flatnonzero(length)
    if filled.size == 0:
        return number, filled
    _, first, inverse = np.unique(table[filled], axis=0, return_index=True, return_inverse=True)
    number[filled] = inverse.reshape(-1)
    return number, filled[first]
