"""Every text that a row can hold, with every label token behind it, in one fixed order.

Isolated content depends on its own text and label alone, so the states of the whole catalogue can be computed once.

Shape suffixes as in ``row.py``; X texts of the catalogue (items, then distinct profiles), A label tokens, U users.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dti.prompts.row import Ints, Row, ranges

Tokens = NDArray[np.int32]


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
        object.__setattr__(self, "start_X", np.cumsum(whole_X) - whole_X)
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

    def rows(self, tokens: int) -> Iterator[Row]:
        """The whole catalogue in rows without probes, in its order, of at most ``tokens`` tokens (or of one text)."""
        ends, cuts = np.append(self.start_X[1:], self.size), [0]
        while cuts[-1] < self.length_X.size:
            done = self.start_X[cuts[-1]]
            cuts.append(max(int(np.searchsorted(ends, done + tokens, side="right")), cuts[-1] + 1))
        for low, high in pairwise(cuts):
            yield self._row(low, high)

    def _row(self, low: int, high: int) -> Row:
        texts = slice(low, high)
        length_E, start_E = self.length_X[texts], self.start_X[texts] - self.start_X[low]
        stop_E = np.append(self.start_X, self.size)[low + 1 : high + 1] - self.start_X[low]
        tokens_S = np.empty(stop_E[-1], np.int64)
        tokens_S[ranges(start_E, length_E)] = self.tokens[ranges(self.offset_X[texts], length_E)]
        labels_E = stop_E - start_E - length_E
        tokens_S[ranges(start_E + length_E, labels_E)] = self.labels_A[ranges(np.zeros_like(labels_E), labels_E)]
        none = np.empty(0, np.int64)
        return Row("unique", tokens_S, start_E, start_E + length_E, stop_E, *[none] * 9)


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
