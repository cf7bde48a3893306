"""Rows of requests: a context, and candidates beside one another behind it; see ``Row``.

Shape suffixes as in ``row.py``; R requests, C context interactions, B label tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dti.prompts.build import Interactions
from dti.prompts.catalogue import Catalogue
from dti.prompts.row import Ints, Row, before, ranges
from dti.prompts.unique import lay_unique


@dataclass(frozen=True)
class Asked:
    """One request in numbers.

    Attributes:
        context: the texts (of a catalogue) of the context's items, oldest first.
        labels: the label token behind each.
        candidates: the candidates' texts.
        prefix: the text that stands before the prompt; -1 for none.
    """

    context: Ints
    labels: Ints
    candidates: Ints
    prefix: int = -1


def asked_row(catalogue: Catalogue, requests: Sequence[Asked], unique: bool) -> Row:
    """One row of the given requests; a probe for each candidate, in order.

    Args:
        unique: lay each distinct text once, with its place in the catalogue, for a pass that reads kept states.
    """
    found, order_M = _interactions(requests)
    prefix_P = np.array([request.prefix for request in requests], np.int64)
    if unique:
        return lay_unique(catalogue, found, prefix_P, order_M)
    return _lay_beside(catalogue, found, prefix_P, order_M)


def _interactions(requests: Sequence[Asked]) -> tuple[Interactions, Ints]:
    context_P = np.array([request.context.size for request in requests], np.int64)
    beside_P = np.array([request.candidates.size for request in requests], np.int64)
    first_P = before(context_P + beside_P)
    target_K = ranges(first_P + context_P, beside_P)
    item_M = np.concatenate([part for request in requests for part in (request.context, request.candidates)])
    token_M = np.full(item_M.size, -1, np.int64)
    token_M[ranges(first_P, context_P)] = np.concatenate([request.labels for request in requests])
    order_M = np.arange(item_M.size)
    order_M[target_K] = np.repeat(first_P + context_P, beside_P)
    prompt_M = np.repeat(np.arange(len(requests)), context_P + beside_P)
    return Interactions(item_M, np.zeros_like(item_M), token_M, prompt_M, first_P, target_K), order_M


def _lay_beside(catalogue: Catalogue, found: Interactions, prefix_P: Ints, order_M: Ints) -> Row:
    """Prefix and context of every request, then the texts of all candidates."""
    read_M, here = found.token_M >= 0, np.flatnonzero(prefix_P >= 0)
    text = np.concatenate([prefix_P[here], found.item_M])
    rank = np.concatenate([2 * found.first_P[here] - 1, 2 * np.arange(read_M.size)])  # a prefix before its context
    late = np.concatenate([np.zeros_like(here), ~read_M])
    order = np.lexsort((rank, late))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    prefix_at, piece_M = place[: here.size], place[here.size :]
    labels_C = np.searchsorted(catalogue.labels_A, found.token_M[read_M])
    laid = catalogue.lay(text[order], piece_M[read_M], labels_C)
    label_M = np.full(read_M.size, -1, np.int64)
    label_M[read_M] = laid.label_B
    prefix_start_P, prefix_stop_P = np.zeros((2, prefix_P.size), np.int64)
    prefix_start_P[here] = laid.start_E[prefix_at]
    prefix_stop_P[here] = laid.start_E[prefix_at] + laid.length_E[prefix_at]
    return Row(
        layout="stream",
        tokens_S=laid.tokens_S,
        start_E=laid.start_E,
        text_stop_E=laid.start_E + laid.length_E,
        stop_E=laid.stop_E,
        start_M=laid.start_E[piece_M],
        text_M=laid.length_E[piece_M],
        label_M=label_M,
        prompt_M=found.prompt_M,
        first_P=found.first_P,
        prefix_start_P=prefix_start_P,
        prefix_stop_P=prefix_stop_P,
        target_K=found.target_K,
        answer_K=found.answer_M[found.target_K],
        order_M=order_M,
    )
