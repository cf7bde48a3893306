"""Streams of tokens built from prompts, without a Python loop over prompts or interactions.

Shape suffixes as in ``row.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dti.prompts.packing import Prompts
from dti.prompts.row import Ints, Row, before, ranges
from dti.prompts.store import Store


def content_tokens(store: Store, prompts: Prompts) -> Ints:
    """Content tokens of each prompt, its profile included, probes not: int64 of shape P."""
    tokens_P = np.empty(len(prompts), np.int64)
    for shard, index in by_shard(prompts.shard):
        before = store.content_before[shard]
        tokens_P[index] = before[prompts.target_stop[index]] - before[prompts.context_start[index]] - 1
    return tokens_P + prefix_lengths(store, prompts)


@dataclass(frozen=True)
class Interactions:
    """The interactions of some prompts, one prompt after another, before they are laid out as tokens.

    Attributes:
        item_M: index of the item.
        answer_M: its label, 0 or 1.
        token_M: the label token that shows it to later targets; -1 where nobody reads it.
        prompt_M, first_P, target_K: as in ``Row``.
    """

    item_M: Ints
    answer_M: Ints
    token_M: Ints
    prompt_M: Ints
    first_P: Ints
    target_K: Ints


def interactions_of(store: Store, prompts: Prompts) -> Interactions:
    """Look up the interactions of prompts in the store."""
    count_P = prompts.target_stop - prompts.context_start
    prompt_M = np.repeat(np.arange(len(prompts)), count_P)
    first_P = before(count_P)
    place_M = ranges(prompts.context_start, count_P)
    shard_M = prompts.shard[prompt_M]
    item_M, answer_M, token_M = (np.empty(len(place_M), np.int64) for _ in range(3))
    for number, index in by_shard(shard_M):
        shard, place = store.shards[number], place_M[index]
        item_M[index], answer_M[index] = shard.item[place], shard.label[place]
        token_M[index] = shard.context_label[place]
    token_M[first_P + count_P - 1] = -1  # nobody reads the label of a prompt's last interaction
    target_K = ranges(first_P + prompts.target_start - prompts.context_start, prompts.targets)
    return Interactions(item_M, answer_M, token_M, prompt_M, first_P, target_K)


def build_row(store: Store, prompts: Prompts) -> Row:
    """One stream of the given prompts, in their order; see ``Row`` for the layout."""
    found = interactions_of(store, prompts)
    labelled_M = found.token_M >= 0
    text_M = store.text_lengths[found.item_M]
    length_M = text_M + labelled_M
    prefix_P = prefix_lengths(store, prompts)
    start_M = before(length_M) + np.cumsum(prefix_P)[found.prompt_M]
    prefix_stop_P = start_M[found.first_P]

    tokens_S = np.empty(length_M.sum() + prefix_P.sum(), np.int64)
    tokens_S[ranges(start_M, text_M)] = store.item_tokens[ranges(store.item_offsets[found.item_M], text_M)]
    tokens_S[(start_M + text_M)[labelled_M]] = found.token_M[labelled_M]
    tokens_S[ranges(prefix_stop_P - prefix_P, prefix_P)] = _prefixes(store, prompts, prefix_P)

    here = prefix_P > 0
    start_E = np.concatenate([start_M, (prefix_stop_P - prefix_P)[here]])
    order = np.argsort(start_E, kind="stable")
    return Row(
        layout="stream",
        tokens_S=tokens_S,
        start_E=start_E[order],
        text_stop_E=np.concatenate([start_M + text_M, prefix_stop_P[here]])[order],
        stop_E=np.concatenate([start_M + length_M, prefix_stop_P[here]])[order],
        start_M=start_M,
        text_M=text_M,
        label_M=np.where(labelled_M, start_M + text_M, -1),
        prompt_M=found.prompt_M,
        first_P=found.first_P,
        prefix_start_P=prefix_stop_P - prefix_P,
        prefix_stop_P=prefix_stop_P,
        target_K=found.target_K,
        answer_K=found.answer_M[found.target_K],
    )


def by_shard(shard: Ints) -> Iterator[tuple[int, Ints]]:
    """Each shard that occurs, with the places where it does."""
    order = np.argsort(shard, kind="stable")
    numbers, starts = np.unique(shard[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=bool(len(numbers)))


def users_of(store: Store, prompts: Prompts) -> Ints:
    """The user of each prompt."""
    user_P = np.empty(len(prompts), np.int64)
    for number, index in by_shard(prompts.shard):
        user_P[index] = store.shards[number].user[prompts.target_start[index]]
    return user_P


def prefix_lengths(store: Store, prompts: Prompts) -> Ints:
    """Tokens of each prompt's prefix."""
    if not store.meta.prefixed:
        return np.zeros(len(prompts), np.int64)
    return store.profile_lengths[users_of(store, prompts)]


def _prefixes(store: Store, prompts: Prompts, length_P: Ints) -> Ints:
    """The profile tokens of all prompts, one after another."""
    if not store.meta.prefixed:
        return np.empty(0, np.int64)
    return store.profile_tokens[ranges(store.profile_offsets[users_of(store, prompts)], length_P)].astype(np.int64)
