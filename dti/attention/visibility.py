"""One rule says who may read whom: every token reads intervals (design: ours; the window policy is the paper's DTI).

Shape suffixes: S content tokens, M interactions, K probes, N listed keys, T = S + K.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dti.attention.forgetting import Forgetting
from dti.prompts.row import Row

Policy = Literal["window", "isolated"]
ProbePosition = Literal["rope", "alibi", "local"]
Context = Literal["all", "label"]

FOREVER_NEAR = 2**31
"""The order of prefix tokens: no probe is ever behind it, so their distance is 0 and they carry no bias."""


@dataclass(frozen=True)
class Sight:
    """What a trained model fixes about reading: the policy, probe positions, what of the context is read, n, and
    how leaked states are reset (None: not at all)."""

    policy: Policy
    probe_position: ProbePosition
    context: Context
    n: int
    forgetting: Forgetting | None = None


@dataclass(frozen=True)
class Segment:
    """Keys that probes may read: an interval of a list of content tokens.

    Attributes:
        keys_N: places of the listed content tokens, ascending.
        low_K, high_K: probe k reads ``keys_N[low_K[k]:high_K[k]]``.
    """

    keys_N: Tensor
    low_K: Tensor
    high_K: Tensor


@dataclass(frozen=True)
class View:
    """A row as attention sees it: content token j reads ``[start_S[j], j]``; a probe reads its segments and itself.

    Positions are RoPE positions. The distance of a query to a key, in interactions, is the difference of their
    ``order_T``, at least 0. ``content_alpha`` and ``probe_alpha`` are alpha by distance where that reading forgets.
    """

    start_S: Tensor
    segments: tuple[Segment, ...]
    position_S: Tensor
    key_position_S: Tensor
    query_position_K: Tensor
    order_S: Tensor
    target_K: Tensor
    biased: bool
    content_alpha: Tensor | None = None
    probe_alpha: Tensor | None = None

    @property
    def order_T(self) -> Tensor:
        """The interaction of every content token and of every probe's target, (T,)."""
        return torch.cat([self.order_S, self.target_K])

    @property
    def content(self) -> int:
        """S, the number of content tokens."""
        return self.start_S.numel()

    @property
    def probes(self) -> int:
        """K, the number of probes."""
        return self.target_K.numel()


def view_of(row: Row, sight: Sight) -> View:
    """Apply the visibility rule to a row.

    With ``context: all`` a probe reads every token of its n context interactions and its own item text; with
    ``label`` only the label tokens of the context, and its own item text. A profile prefix reads itself alone and is
    read by the probes of its prompt. Drawn for one prompt with contexts a b and target c, n = 1, item texts of one
    token (x reads y where the cell is 1; the probe is p)::

        window, all        isolated, label
           a y b y c p        a y b y c p
        a  1                  1
        y  1 1                1 1
        b  1 1 1                  1
        y  1 1 1 1                1 1
        c      1 1 1                  1
        p      1 1 1 1              1 1 1
    """
    order_S, offset_S = _places(row)
    position_S = _prompt_positions(row) if sight.policy == "window" or sight.probe_position == "rope" else None
    local_S = _local_positions(row, offset_S)
    key_position_S, query_position_K = _probe_positions(row, sight.probe_position, position_S, local_S)
    position_S = local_S if position_S is None else position_S
    forgetting = sight.forgetting
    alpha = forgetting.alpha(sight.n) if forgetting else None
    return View(
        start_S=torch.from_numpy(_starts(row, sight, order_S)),
        segments=tuple(_segments(row, sight)),
        position_S=torch.from_numpy(position_S),
        key_position_S=torch.from_numpy(key_position_S),
        query_position_K=torch.from_numpy(query_position_K),
        order_S=torch.from_numpy(order_S),
        target_K=torch.from_numpy(row.target_K),
        biased=sight.probe_position != "rope",
        content_alpha=alpha if forgetting and forgetting.at != "probes" else None,
        probe_alpha=alpha if forgetting and forgetting.at != "content" else None,
    )


def _places(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Each content token's interaction (``FOREVER_NEAR`` in prefixes) and its offset in it (or in the prefix)."""
    order_S = np.full(row.tokens_S.size, FOREVER_NEAR, dtype=np.int64)
    offset_S = np.arange(row.tokens_S.size, dtype=np.int64)
    length_M = row.stop_M - row.start_M
    inside = np.repeat(row.start_M, length_M) + _ramp(length_M)
    order_S[inside] = np.repeat(np.arange(length_M.size), length_M)
    offset_S[inside] = _ramp(length_M)
    length_P = row.prefix_stop_P - row.prefix_start_P
    offset_S[np.repeat(row.prefix_start_P, length_P) + _ramp(length_P)] = _ramp(length_P)
    return order_S, offset_S


def _ramp(lengths: np.ndarray) -> np.ndarray:
    """``0 .. length - 1`` for each length, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0, dtype=np.int64) - np.repeat(ends - lengths, lengths)


def _first_of_window(row: Row, n: int) -> np.ndarray:
    """The oldest interaction that each interaction's window of n reaches, never before its prompt, (M,)."""
    return np.maximum(np.arange(row.start_M.size) - n, row.first_P[row.prompt_M])


def _starts(row: Row, sight: Sight, order_S: np.ndarray) -> np.ndarray:
    first_M = _first_of_window(row, sight.n) if sight.policy == "window" else np.arange(row.start_M.size)
    start_S = np.empty_like(order_S)
    in_prefix = order_S == FOREVER_NEAR
    start_S[~in_prefix] = row.start_M[first_M][order_S[~in_prefix]]
    start_S[in_prefix] = np.repeat(row.prefix_start_P, row.prefix_stop_P - row.prefix_start_P)
    return start_S


def _segments(row: Row, sight: Sight) -> list[Segment]:
    first_K = _first_of_window(row, sight.n)[row.target_K]
    item_K = row.start_M[row.target_K]
    anchor_end_K = row.label_M[row.target_K]
    every = np.arange(row.tokens_S.size, dtype=np.int64)
    segments = []
    if sight.context == "all":
        segments.append(_segment(every, row.start_M[first_K], anchor_end_K))
    else:
        labels = row.label_M[row.label_M < row.stop_M]
        segments.append(
            _segment(labels, np.searchsorted(labels, row.start_M[first_K]), np.searchsorted(labels, item_K))
        )
        segments.append(_segment(every, item_K, anchor_end_K))
    if (row.prefix_stop_P > row.prefix_start_P).any():
        prefix = every[_places(row)[0] == FOREVER_NEAR]
        prompt_K = row.prompt_M[row.target_K]
        bounds = (row.prefix_start_P[prompt_K], row.prefix_stop_P[prompt_K])
        segments.append(_segment(prefix, *(np.searchsorted(prefix, bound) for bound in bounds)))
    return segments


def _segment(keys_N: np.ndarray, low_K: np.ndarray, high_K: np.ndarray) -> Segment:
    return Segment(torch.from_numpy(keys_N), torch.from_numpy(low_K), torch.from_numpy(high_K))


def _prompt_positions(row: Row) -> np.ndarray:
    """Places counted from each prompt's first token, prefix included; probes take none, (S,)."""
    prefixed_P = row.prefix_stop_P > row.prefix_start_P
    begin_P = np.where(prefixed_P, row.prefix_start_P, row.start_M[row.first_P])
    every = np.arange(row.tokens_S.size, dtype=np.int64)
    return every - begin_P[np.searchsorted(begin_P, every, side="right") - 1]


def _local_positions(row: Row, offset_S: np.ndarray) -> np.ndarray:
    """Every interaction right-aligned: text at offset - text length, label at 0; a prefix likewise, (S,)."""
    shift = np.zeros_like(offset_S)
    length_M = row.stop_M - row.start_M
    shift[np.repeat(row.start_M, length_M) + _ramp(length_M)] = np.repeat(row.label_M - row.start_M, length_M)
    length_P = row.prefix_stop_P - row.prefix_start_P
    shift[np.repeat(row.prefix_start_P, length_P) + _ramp(length_P)] = np.repeat(length_P, length_P)
    return offset_S - shift


def _probe_positions(
    row: Row, kind: ProbePosition, prompt_S: np.ndarray | None, local_S: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """RoPE positions of the keys as probes read them, (S,), and of the probes, (K,)."""
    zeros_K = np.zeros_like(row.target_K)
    if kind == "local":
        return local_S, zeros_K
    if kind == "alibi":
        return np.zeros_like(local_S), zeros_K
    assert prompt_S is not None
    return prompt_S, prompt_S[row.label_M[row.target_K] - 1] + 1


def mask_of(view: View) -> Tensor:
    """The whole visibility as one dense mask, (T, T) bool: who (row) may read whom (column). For small rows."""
    content, total = view.content, view.content + view.probes
    place = torch.arange(total)
    mask = torch.zeros(total, total, dtype=torch.bool)
    mask[:content, :content] = (view.start_S[:, None] <= place[:content]) & (place[:content] <= place[:content, None])
    for segment in view.segments:
        listed = torch.arange(segment.keys_N.numel())
        readable = (segment.low_K[:, None] <= listed) & (listed < segment.high_K[:, None])
        mask[content:, segment.keys_N] |= readable
    mask[place[content:], place[content:]] = True
    return mask


def distance_of(view: View) -> Tensor:
    """How many interactions before each reader a token stands, at least 0, (T, T)."""
    return (view.order_T[:, None] - view.order_T[None, :]).clamp(min=0)
