"""One rule says who may read whom: every token reads intervals (design: ours; the window policy is the paper's DTI).

Shape suffixes: S content tokens, E encoded texts, M interactions, P prompts, K probe tokens (of each target as many;
helpers count one a target, before ``_for_each`` repeats it), N and L listed keys, T = S + K;
I some interactions, J tokens of candidates beside one another.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dti.attention.forgetting import Forgetting
from dti.prompts.row import Ints, Row, before, ranges

Policy = Literal["window", "isolated"]
ProbePosition = Literal["rope", "alibi", "local"]
Context = Literal["all", "label"]
Content = Literal["trained", "frozen"]
Slopes = Literal["fixed", "learned"]

FOREVER_NEAR = 2**31
"""The order of prefix tokens: no probe is ever behind it, so their distance is 0 and they carry no bias."""


@dataclass(frozen=True)
class Sight:
    """What a trained model fixes about reading.

    Attributes:
        policy, probe_position, context, n: who reads whom, how probes see distance, what of a context is read, and how
            many interactions back.
        forgetting: how leaked states are reset; None: not at all.
        content: whether the adapter acts on content, too, or on probes alone (``frozen``).
        slopes: whether the slopes of the bias by distance are ALiBi's own or learned, for each layer and head.
        probe_tokens: how many probe tokens a target has; the last one gives its logit.
    """

    policy: Policy
    probe_position: ProbePosition
    context: Context
    n: int
    forgetting: Forgetting | None = None
    content: Content = "trained"
    slopes: Slopes = "fixed"
    probe_tokens: int = 1


class Bank(NamedTuple):
    """Keys and values of N tokens, each (G, N, D): G key/value heads, each read by H / G query heads.

    ``v0`` are the values of the tokens' initial embeddings, None where nothing is forgotten.
    """

    k: Tensor
    v: Tensor
    v0: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Bank":
        """The bank with every tensor changed."""
        return Bank(change(self.k), change(self.v), None if self.v0 is None else change(self.v0))


@dataclass(frozen=True)
class Segment:
    """Keys that probes may read: an interval of a list of content tokens.

    A token may be listed more than once: in the unique layout several interactions share the states of one item, each
    at its own distance.

    Attributes:
        keys_N: places of the listed content tokens.
        order_N: the interaction for which each is listed; ``FOREVER_NEAR`` in prefixes.
        low_K, high_K: probe k reads ``keys_N[low_K[k]:high_K[k]]``.
        shared: whether neighbouring probes read much the same of the list, or each a part of its own.
    """

    keys_N: Tensor
    order_N: Tensor
    low_K: Tensor
    high_K: Tensor
    shared: bool = True


@dataclass(frozen=True)
class View:
    """A row as attention sees it: content token j reads ``[start_S[j], stop_S[j])`` and itself; a probe reads its
    segments, and the probe tokens of its target up to itself: each ``probe_tokens`` in turn are of one target.

    Positions are RoPE positions. The distance of a query to a key, in interactions, is the difference of their
    orders, at least 0. ``content_alpha`` and ``probe_alpha`` are alpha by distance where that reading forgets.

    ``beside`` is how the last content tokens read where they are texts of candidates beside one another: like probes,
    by segments. None: all content reads by its intervals.
    """

    start_S: Tensor
    stop_S: Tensor
    segments: tuple[Segment, ...]
    position_S: Tensor
    key_position_S: Tensor
    query_position_K: Tensor
    order_S: Tensor
    target_K: Tensor
    biased: bool
    content_alpha: Tensor | None = None
    probe_alpha: Tensor | None = None
    beside: "View | None" = None
    probe_tokens: int = 1

    def elsewhere(self, place_S: Tensor) -> "View":
        """The view as probes read it where content token s stands at ``place_S[s]`` of a larger table."""
        return replace(self, segments=tuple(replace(s, keys_N=place_S[s.keys_N]) for s in self.segments))

    @property
    def early(self) -> "View":
        """The view without the tokens that ``beside`` reads for."""
        if self.beside is None:
            return self
        count = self.content - self.beside.probes
        kept = {name: getattr(self, name)[:count] for name in ("start_S", "stop_S", "order_S")}
        return replace(self, **kept)

    @property
    def content(self) -> int:
        """S, the number of content tokens."""
        return self.start_S.numel()

    @property
    def probes(self) -> int:
        """K, the number of probe tokens."""
        return self.target_K.numel()


def view_of(row: Row, sight: Sight) -> View:
    """Apply the visibility rule to a row.

    With ``context: all`` a probe reads every token of its n context interactions and its own item text; with
    ``label`` only the label tokens of the context, and its own item text. A prefix reads itself alone and is read by
    the probes of its prompt. Drawn for one prompt with contexts a b and target c, n = 1, item texts of one token (x
    reads y where the cell is 1; the probe is p)::

        window, all        isolated, label
           a y b y c p        a y b y c p
        a  1                  1
        y  1 1                1 1
        b  1 1 1                  1
        y  1 1 1 1                1 1
        c      1 1 1                  1
        p      1 1 1 1              1 1 1

    In the unique layout an item stands once with all its labels (n = 2, contexts b a b, target a; y, z: its labels)::

           a y b y z p
        a  1
        y  1 1
        b      1
        y      1 1
        z      1   1             blind to the other label
        p  1 1     1 1           a itself, context a y (distance 2) and b z (distance 1)

    Several probe tokens p q r of a target read the same, and those before them, at RoPE positions one behind another
    (the first example, isolated)::

           a y b y c p q r
        p        1 1 1
        q        1 1 1 1
        r        1 1 1 1 1       the target's logit

    Candidates c d beside one another (n = 1, window, all): each reads as if it stood alone behind the context::

           a y b y c d p q
        c      1 1 1
        d      1 1   1
        p      1 1 1   1
        q      1 1   1   1

    Raises:
        ValueError: a row of unique items is to be read by a policy or with positions that streams alone have.
    """
    if row.layout == "unique" and (sight.policy == "window" or sight.probe_position == "rope"):
        raise ValueError("the unique layout needs policy isolated and probe_position alibi or local")
    local_S = _local_positions(row)
    position_S = _prompt_positions(row) if sight.policy == "window" or sight.probe_position == "rope" else None
    key_position_S, query_position_K = _probe_positions(row, sight.probe_position, position_S, local_S)
    order_S = _orders(row)
    start_S, stop_S = _intervals(row, sight, order_S)
    forgetting = sight.forgetting
    alpha = forgetting.alpha(sight.n) if forgetting else None
    each = sight.probe_tokens
    view = View(
        start_S=torch.from_numpy(start_S),
        stop_S=torch.from_numpy(stop_S),
        segments=tuple(_for_each(segment, each) for segment in _segments(row, sight)),
        position_S=torch.from_numpy(local_S if position_S is None else position_S),
        key_position_S=torch.from_numpy(key_position_S),
        query_position_K=torch.from_numpy(ranges(query_position_K, np.full_like(query_position_K, each))),
        order_S=torch.from_numpy(order_S),
        target_K=torch.from_numpy(row.orders[row.target_K]).repeat_interleave(each),
        biased=sight.probe_position != "rope",
        content_alpha=alpha if forgetting and forgetting.at != "probes" else None,
        probe_alpha=alpha if forgetting and forgetting.at != "content" else None,
        probe_tokens=each,
    )
    return replace(view, beside=_beside(row, view, sight.n)) if row.beside and sight.policy == "window" else view


def _orders(row: Row) -> Ints:
    """Each content token's interaction, ``FOREVER_NEAR`` in prefixes, (S,); the last one where several share it."""
    order_E = np.full(row.start_E.size, FOREVER_NEAR, dtype=np.int64)
    order_E[np.searchsorted(row.start_E, row.start_M)] = row.orders
    return np.repeat(order_E, row.length_E)


def _intervals(row: Row, sight: Sight, order_S: Ints) -> tuple[Ints, Ints]:
    """What each content token reads besides itself: ``[start, stop)``, both (S,)."""
    own_S = np.arange(row.tokens_S.size, dtype=np.int64)
    if sight.policy == "isolated":
        # A label reads its item's text, and no other label behind that text.
        return np.repeat(row.start_E, row.length_E), np.minimum(own_S, np.repeat(row.text_stop_E, row.length_E))
    start_S = np.repeat(row.start_E, row.length_E)
    inside = order_S != FOREVER_NEAR
    start_S[inside] = row.start_M[_first_of_window(row, sight.n)][order_S[inside]]
    return start_S, own_S


def _first_of_window(row: Row, n: int) -> Ints:
    """The oldest interaction that each interaction's window of n reaches, never before its prompt, (M,)."""
    return np.maximum(row.orders - n, row.first_P[row.prompt_M])


def _segments(row: Row, sight: Sight) -> list[Segment]:
    first_K = _first_of_window(row, sight.n)[row.target_K]
    if row.beside:
        segments = [_context(row, first_K, sight.context), _own_texts(row)]
    elif sight.context == "all":
        segments = [_all_tokens(row, first_K)]
    else:
        segments = [_context(row, first_K, "label"), _own_texts(row)]
    prefix_P = row.prefix_stop_P - row.prefix_start_P
    if prefix_P.any():
        keys = ranges(row.prefix_start_P, prefix_P)
        stop_P = np.cumsum(prefix_P)
        prompt_K = row.prompt_M[row.target_K]
        near = np.full_like(keys, FOREVER_NEAR)
        segments.append(_segment(keys, near, (stop_P - prefix_P)[prompt_K], stop_P[prompt_K]))
    return segments


def _for_each(segment: Segment, probe_tokens: int) -> Segment:
    """A segment of one reader a target, for all probe tokens of each."""
    low_K, high_K = (bound.repeat_interleave(probe_tokens) for bound in (segment.low_K, segment.high_K))
    return replace(segment, low_K=low_K, high_K=high_K)


def _all_tokens(row: Row, first_K: Ints) -> Segment:
    """All tokens from the first context interaction to the end of the target's text."""
    keys_N, order_N, begin_M = _listed(row, np.arange(row.start_M.size))
    return _segment(keys_N, order_N, begin_M[first_K], (begin_M + row.text_M)[row.target_K])


def _context(row: Row, first_K: Ints, context: Context) -> Segment:
    """The label tokens, or all tokens, of the context."""
    labelled = np.flatnonzero(row.label_M >= 0)
    low_K, high_K = (np.searchsorted(labelled, bound) for bound in (first_K, row.orders[row.target_K]))
    if context == "label":
        return _segment(row.label_M[labelled], labelled, low_K, high_K)
    keys_N, order_N, begin_I = _listed(row, labelled)
    begin_I = np.append(begin_I, keys_N.size)
    return _segment(keys_N, order_N, begin_I[low_K], begin_I[high_K])


def _own_texts(row: Row) -> Segment:
    """Each target's text."""
    text_K = row.text_M[row.target_K]
    stop_K = np.cumsum(text_K)
    texts = ranges(row.start_M[row.target_K], text_K)
    order_N = np.repeat(row.orders[row.target_K], text_K)
    return _segment(texts, order_N, stop_K - text_K, stop_K, shared=False)


def _listed(row: Row, index_I: Ints) -> tuple[Ints, Ints, Ints]:
    """All tokens of some interactions: their places, their interactions, and where each interaction's begin."""
    text_I, label_I = row.text_M[index_I], row.label_M[index_I]
    count_I = text_I + (label_I >= 0)
    begin_I = before(count_I)
    keys_N = np.empty(count_I.sum(), np.int64)
    keys_N[ranges(begin_I, text_I)] = ranges(row.start_M[index_I], text_I)
    keys_N[(begin_I + text_I)[label_I >= 0]] = label_I[label_I >= 0]
    return keys_N, np.repeat(index_I, count_I), begin_I


def _beside(row: Row, view: View, n: int) -> View:
    """How the texts of candidates read with policy window: the context, and of their own text what stands before."""
    text_K = row.text_M[row.target_K]
    start_K = row.start_M[row.target_K]
    early = int(start_K.min(initial=row.tokens_S.size))
    order_K, first_K = row.orders[row.target_K], _first_of_window(row, n)[row.target_K]
    stop_M = row.start_M + row.text_M + (row.label_M >= 0)
    some_K = first_K < order_K
    low_K, high_K = (np.where(some_K, place_K, 0) for place_K in (row.start_M[first_K], stop_M[order_K - 1]))
    order_J, low_J, high_J, start_J = (np.repeat(x, text_K) for x in (order_K, low_K, high_K, start_K - early))
    own_J = np.arange(order_J.size)
    segments = (
        _segment(np.arange(early), view.order_S[:early].numpy(), low_J, high_J),
        _segment(early + own_J, order_J, start_J, own_J),
    )
    alpha = view.content_alpha
    target_J = torch.from_numpy(order_J)
    return replace(view, segments=segments, target_K=target_J, biased=False, probe_alpha=alpha, probe_tokens=1)


def _segment(keys_N: Ints, order_N: Ints, low_K: Ints, high_K: Ints, shared: bool = True) -> Segment:
    keys, order, low, high = (torch.from_numpy(x) for x in (keys_N, order_N, low_K, high_K))
    return Segment(keys, order, low, high, shared)


def _prompt_positions(row: Row) -> Ints:
    """Places counted from each prompt's first token, prefix included; probes take none, (S,).

    Candidates beside one another all begin where the first one does.
    """
    before_M = before(row.text_M + (row.label_M >= 0))
    prefix_P = row.prefix_stop_P - row.prefix_start_P
    offset_M = (before_M + (prefix_P - before_M[row.first_P])[row.prompt_M])[row.orders]
    offset_E = np.zeros_like(row.start_E)
    offset_E[np.searchsorted(row.start_E, row.start_M)] = offset_M
    return np.arange(row.tokens_S.size) - np.repeat(row.start_E - offset_E, row.length_E)


def _local_positions(row: Row) -> Ints:
    """Every text right-aligned: text tokens at offset - text length, labels at 0, (S,)."""
    every = np.arange(row.tokens_S.size, dtype=np.int64)
    return np.minimum(every - np.repeat(row.text_stop_E, row.length_E), 0)


def _probe_positions(row: Row, kind: ProbePosition, prompt_S: Ints | None, local_S: Ints) -> tuple[Ints, Ints]:
    """RoPE positions of the keys as probes read them, (S,), and of each target's first probe token."""
    zeros_K = np.zeros_like(row.target_K)
    if kind == "local":
        return local_S, zeros_K
    if kind == "alibi":
        return np.zeros_like(local_S), zeros_K
    assert prompt_S is not None
    return prompt_S, prompt_S[(row.start_M + row.text_M)[row.target_K] - 1] + 1
