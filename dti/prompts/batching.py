"""Passes that fit the memory."""

from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise

import numpy as np

from dti.prompts.build import build_row, content_tokens, interactions_of, prefix_lengths
from dti.prompts.packing import Prompts, first_rows
from dti.prompts.row import Ints, Layout, Row, reach
from dti.prompts.store import Store
from dti.prompts.unique import build_unique


def shortened(store: Store, prompts: Prompts, tokens: int) -> Prompts:
    """Cut prompts of more than ``tokens`` content tokens into shorter ones, each with its own n context interactions.

    For isolated content alone, whose logits depend on no k: a window's states carry what stands before them. Prefixes
    do not count, and a piece has at least one target, so that a long context may exceed ``tokens`` all the same.
    """
    long_P = content_tokens(store, prompts) > tokens
    if not long_P.any():
        return prompts
    first_P = first_rows(store, prompts)
    parts = []
    for place in range(len(prompts)):
        whole = prompts.take(slice(place, place + 1))
        parts.append(_pieces(store, whole, int(first_P[place]), tokens) if long_P[place] else whole)
    return Prompts.join(parts)


def _pieces(store: Store, prompt: Prompts, first: int, tokens: int) -> Prompts:
    shard, context, start, stop = (int(getattr(prompt, f.name)[0]) for f in fields(prompt))
    before_R, pieces = store.content_before[shard], list[tuple[int, int, int, int]]()
    while start < stop:
        fits = int(np.searchsorted(before_R, before_R[context] + tokens + 1, side="right")) - 1
        end = min(max(fits, start + 1), stop)
        pieces.append((shard, context, start, end))
        start, context = end, max(first, end - store.meta.n)
    return Prompts(*np.array(pieces).T)


def rows(store: Store, prompts: Prompts, tokens: int, layout: Layout) -> Iterator[Row]:
    """Lay out a list of prompts as rows, one for each pass."""
    build = build_row if layout == "stream" else build_unique
    for part in passes(store, prompts, tokens, layout):
        yield build(store, part)


def passes(store: Store, prompts: Prompts, tokens: int, layout: Layout = "stream") -> list[Prompts]:
    """Cut a list of prompts into consecutive passes of at most ``tokens`` tokens (at least one prompt each).

    In streams, content tokens count; in the unique layout the tokens of distinct items and the context labels that
    probes may read do, as the latter, gathered for the probes, fill the memory there.
    """
    least_P = content_tokens(store, prompts) if layout == "stream" else prompts.target_stop - prompts.context_start
    ends, cuts = np.cumsum(least_P), [0]
    while cuts[-1] < len(prompts):
        low = cuts[-1]
        high = reach(ends, low, tokens)
        if layout == "unique":  # at least a token per interaction: no more prompts than these need a look
            counted = _unique_tokens(store, prompts.take(slice(low, high)))
            high = low + reach(counted, 0, tokens)
        cuts.append(high)
    return [prompts.take(slice(low, high)) for low, high in pairwise(cuts)]


def _unique_tokens(store: Store, prompts: Prompts) -> Ints:
    """Tokens of the first prompts up to each: distinct items with all labels, prefixes, and what probes gather.

    They gather one label per interaction and each target's text; with ``context: all`` they gather more.
    """
    found = interactions_of(store, prompts)
    items, first = np.unique(found.item_M, return_index=True)
    tokens_M = np.ones_like(found.item_M)
    tokens_M[found.target_K] += store.text_lengths[found.item_M[found.target_K]]
    tokens_M[found.first_P] += prefix_lengths(store, prompts)
    tokens_M[first] += store.text_lengths[items] + store.catalogue.labels_A.size
    return np.cumsum(tokens_M)[np.append(found.first_P[1:], found.item_M.size) - 1]
