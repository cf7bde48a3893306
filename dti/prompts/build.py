"""Rows of tokens built from prompts, without a Python loop over prompts or interactions.

Shape suffixes as in ``row.py``.
"""

from collections.abc import Iterator

import numpy as np

from dti.prompts.packing import Prompts, ranges
from dti.prompts.row import Ints, Row
from dti.prompts.store import Store


def content_tokens(store: Store, prompts: Prompts) -> Ints:
    """Content tokens of each prompt, its profile included, probes not: int64 of shape P."""
    tokens_P = np.empty(len(prompts), np.int64)
    for shard, index in _by_shard(prompts.shard):
        before = store.content_before[shard]
        tokens_P[index] = before[prompts.target_stop[index]] - before[prompts.context_start[index]] - 1
    return tokens_P + _prefix_lengths(store, prompts)


def build_row(store: Store, prompts: Prompts) -> Row:
    """One row of the given prompts, in their order; see ``Row`` for the layout."""
    count_P = prompts.target_stop - prompts.context_start
    prompt_M = np.repeat(np.arange(len(prompts)), count_P)
    first_P = _before(count_P)
    place_M = ranges(prompts.context_start, count_P)
    item_M, answer_M, label_token_M = _interactions(store, prompts.shard[prompt_M], place_M)
    labelled_M = np.ones(len(place_M), np.bool_)
    labelled_M[first_P + count_P - 1] = False  # nobody reads the label of a prompt's last interaction

    text_M = store.text_lengths[item_M]
    length_M = text_M + labelled_M
    prefix_P = _prefix_lengths(store, prompts)
    start_M = _before(length_M) + np.cumsum(prefix_P)[prompt_M]
    prefix_stop_P = start_M[first_P]

    tokens_S = np.empty(length_M.sum() + prefix_P.sum(), np.int64)
    tokens_S[ranges(start_M, text_M)] = store.item_tokens[ranges(store.item_offsets[item_M], text_M)]
    tokens_S[(start_M + text_M)[labelled_M]] = label_token_M[labelled_M]
    tokens_S[ranges(prefix_stop_P - prefix_P, prefix_P)] = _prefixes(store, prompts, prefix_P)

    target_K = ranges(first_P + prompts.target_start - prompts.context_start, prompts.targets)
    return Row(
        tokens_S=tokens_S,
        start_M=start_M,
        label_M=start_M + text_M,
        stop_M=start_M + length_M,
        prompt_M=prompt_M,
        first_P=first_P,
        prefix_start_P=prefix_stop_P - prefix_P,
        prefix_stop_P=prefix_stop_P,
        target_K=target_K,
        answer_K=answer_M[target_K],
        shard_K=prompts.shard[prompt_M[target_K]],
        place_K=place_M[target_K],
    )


def _before(length: Ints) -> Ints:
    return np.cumsum(length) - length


def _by_shard(shard: Ints) -> Iterator[tuple[int, Ints]]:
    """Each shard that occurs, with the places where it does."""
    order = np.argsort(shard, kind="stable")
    numbers, starts = np.unique(shard[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=bool(len(numbers)))


def _interactions(store: Store, shard_M: Ints, place_M: Ints) -> tuple[Ints, Ints, Ints]:
    """Item, label and context-label token of the interactions stored at the given places."""
    item_M, label_M, token_M = (np.empty(len(place_M), np.int64) for _ in range(3))
    for number, index in _by_shard(shard_M):
        shard, place = store.shards[number], place_M[index]
        item_M[index], label_M[index], token_M[index] = (
            shard.item[place],
            shard.label[place],
            shard.context_label[place],
        )
    return item_M, label_M, token_M


def _users(store: Store, prompts: Prompts) -> Ints:
    user_P = np.empty(len(prompts), np.int64)
    for number, index in _by_shard(prompts.shard):
        user_P[index] = store.shards[number].user[prompts.target_start[index]]
    return user_P


def _prefix_lengths(store: Store, prompts: Prompts) -> Ints:
    if not store.meta.profile:
        return np.zeros(len(prompts), np.int64)
    return store.profile_lengths[_users(store, prompts)]


def _prefixes(store: Store, prompts: Prompts, length_P: Ints) -> Ints:
    """The profile tokens of all prompts, one after another."""
    if not store.meta.profile:
        return np.empty(0, np.int64)
    return store.profile_tokens[ranges(store.profile_offsets[_users(store, prompts)], length_P)].astype(np.int64)
