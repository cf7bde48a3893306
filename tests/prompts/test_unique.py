"""The unique layout against streams, token by token."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dti.prompts.batching import passes, rows
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts
from dti.prompts.unique import build_unique


def texts_of(row):
    """Each interaction's prompt, text tokens and label token (None where it is left out); each prompt's prefix."""
    interactions = [
        (int(p), row.tokens_S[s : s + t].tolist(), None if y < 0 else int(row.tokens_S[y]))
        for p, s, t, y in zip(row.prompt_M, row.start_M, row.text_M, row.label_M, strict=True)
    ]
    prefixes = [row.tokens_S[a:b].tolist() for a, b in zip(row.prefix_start_P, row.prefix_stop_P, strict=True)]
    return interactions, prefixes


@st.composite
def histories(draw):
    row = st.tuples(st.integers(0, 4), st.integers(0, 1))
    users = draw(st.lists(st.lists(row, min_size=1, max_size=9), min_size=1, max_size=5))
    return users, draw(st.none() | st.lists(st.sampled_from(["", "old", "young"]), min_size=5, max_size=5))


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(1, 4), st.sampled_from([1, 3, "all"]))
def test_a_unique_row_says_what_the_stream_says(make_store, world, n, k):
    users, profiles = world
    profiles = profiles and profiles[: len(users)]
    store = make_store(users, ["a", "bb cc", "", "dd", "bb cc ee"], profiles=profiles, n=n, k=k)
    prompts = stream_prompts(store, "train", k)
    stream, unique = build_row(store, prompts), build_unique(store, prompts)
    assert texts_of(unique) == texts_of(stream)
    for name in ("prompt_M", "first_P", "target_K", "answer_K"):
        assert getattr(unique, name).tolist() == getattr(stream, name).tolist()

    pairs = {(tuple(text), label) for _, text, label in texts_of(stream)[0] if label is not None}
    items = {item for user in users for item, _ in user}
    assert len(unique.start_E) == len(items) + len({tuple(p) for p in texts_of(stream)[1] if p})
    assert (unique.stop_E - unique.text_stop_E).sum() >= len(pairs), "every label that is read stands there"
    assert unique.stop_E[-1] == unique.tokens_S.size
    assert unique.start_E.tolist() == [0, *unique.stop_E[:-1].tolist()]


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(1, 30))
def test_places_name_the_same_tokens_in_the_catalogue(make_store, world, size):
    users, profiles = world
    store = make_store(users, ["a", "bb cc", "", "dd", "bb cc ee"], profiles=profiles and profiles[: len(users)], n=3)
    whole = np.concatenate([row.tokens_S for row in store.catalogue.rows(size)])
    assert whole.size == store.catalogue.size
    unique = build_unique(store, stream_prompts(store, "train", "all"))
    assert whole[unique.place_S].tolist() == unique.tokens_S.tolist()
    assert len(set(unique.place_S.tolist())) == unique.place_S.size


def test_the_unique_row_drawn_in_the_docstring_of_row(make_store):
    a, b, c, d = range(4)
    store = make_store([[(a, 1), (b, 1), (c, 1)], [(d, 0), (a, 0)]], ["a a", "b b", "c c", "d d"], n=2, k="all")
    row = build_unique(store, stream_prompts(store, "train", "all"))
    length = store.text_lengths.tolist()
    assert len(set(length)) == 1
    ids, text = store.meta.tokens, length[0]
    assert row.start_M.tolist() == [0, text + 1, 2 * text + 2, 3 * text + 2, 0]
    assert row.label_M.tolist() == [text, 2 * text + 1, -1, 4 * text + 2, -1]
    assert row.tokens_S[row.label_M[row.label_M >= 0]].tolist() == [ids.yes, ids.yes, ids.no]


def test_unique_passes_hold_more_prompts_and_every_prompt_once(make_store):
    rng = np.random.default_rng(0)
    users = [[(int(rng.integers(5)), int(rng.integers(2))) for _ in range(12)] for _ in range(20)]
    store = make_store(users, ["one two", "three", "four five six", "seven", "eight"], n=3, k=4)
    prompts = stream_prompts(store, "train", 4)
    for layout in ("stream", "unique"):
        parts = passes(store, prompts, 120, layout)
        assert np.concatenate([part.target_start for part in parts]).tolist() == prompts.target_start.tolist()
        assert all(row.tokens_S.size <= 120 for row in rows(store, prompts, 120, layout))
    assert len(passes(store, prompts, 400, "unique")) < len(passes(store, prompts, 400))
    assert len(passes(store, prompts, 1, "unique")) == len(prompts)
