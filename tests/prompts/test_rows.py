"""Rows, prompts and tokens against a packer written with plain lists."""

from dataclasses import asdict, fields
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dti.prompts.batching import shortened
from dti.prompts.build import build_row, content_tokens
from dti.prompts.pack import pack
from dti.prompts.packing import Prompts, recut, serving_prompts, stream_prompts, training_prompts
from dti.prompts.row import Row
from dti.prompts.store import SPLITS, Meta, Shard, Store, TokenIds
from dti.prompts.unique import build_unique

NO, YES = 1, 2
IDS = TokenIds(no=NO, yes=YES, sum=3, pad=0, empty=4)


def store_of(users, texts, profiles, n, cuts=()):
    """A store in memory; users: lists of (item, label, split); a new shard begins at each user in ``cuts``."""
    groups, begins = [], [0, *sorted(set(cuts) - {0}), len(users)]
    for begin, end in pairwise(begins):
        rows = [(u, order, *row) for u in range(begin, end) for order, row in enumerate(users[u])]
        if rows:
            groups.append(np.array([(u, i, y, (NO, YES)[y], order, order, s) for u, order, i, y, s in rows]).T)
    shards = [Shard(*group) for group in groups]
    meta = Meta(1, "d", "d", "", True, n, 1, "binary", profiles is not None, "tiny", None, 9, 99, IDS, None)
    return Store(None, meta, shards, None, *flat(texts), None, *flat(profiles or [[] for _ in users]))


def flat(lists):
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    return np.array([x for one in lists for x in one], np.int32), offsets


def brute_prompts(users, n, k, split):
    """Per prompt: user, context orders, target orders."""
    prompts = []
    for u, history in enumerate(users):
        targets = [order for order, (_, _, s) in enumerate(history) if s == SPLITS.index(split)]
        size = len(targets) if k == "all" else k
        while targets:
            now, targets = targets[:size], targets[size:]
            prompts.append((u, list(range(max(0, now[0] - n), now[0])), now))
    return prompts


def brute_row(prompts, users, texts, profiles):
    """The fields of a stream's ``Row`` as lists."""
    row = {f.name: [] for f in fields(Row) if f.name not in ("layout", "place_S", "order_M")}
    tokens = row["tokens_S"]
    for p, (u, context, targets) in enumerate(prompts):
        row["prefix_start_P"].append(len(tokens))
        tokens += profiles[u] if profiles else []
        row["prefix_stop_P"].append(len(tokens))
        if row["prefix_stop_P"][-1] > row["prefix_start_P"][-1]:
            for name, place in zip(("start_E", "text_stop_E", "stop_E"), ("start", "stop", "stop"), strict=True):
                row[name].append(row[f"prefix_{place}_P"][-1])
        row["first_P"].append(len(row["start_M"]))
        for order in context + targets:
            item, label, _ = users[u][order]
            if order in targets:
                row["target_K"].append(len(row["start_M"]))
                row["answer_K"].append(label)
            row["start_M"].append(len(tokens))
            row["start_E"].append(len(tokens))
            row["prompt_M"].append(p)
            tokens += texts[item]
            row["text_M"].append(len(texts[item]))
            row["text_stop_E"].append(len(tokens))
            row["label_M"].append(len(tokens) if order != targets[-1] else -1)
            tokens += [(NO, YES)[label]] if order != targets[-1] else []
            row["stop_E"].append(len(tokens))
    return row


@st.composite
def worlds(draw):
    """Users with consecutive splits, ragged texts, perhaps profiles, and shards cut anywhere."""
    token = st.integers(5, 98)
    texts = draw(st.lists(st.lists(token, min_size=1, max_size=6), min_size=1, max_size=5))
    row = st.tuples(st.integers(0, len(texts) - 1), st.integers(0, 1), st.integers(0, 3))
    users = draw(st.lists(st.lists(row, min_size=1, max_size=12), min_size=1, max_size=6))
    codes = [sorted(split for *_, split in history) for history in users]
    users = [[(i, y, s) for (i, y, _), s in zip(*pair, strict=True)] for pair in zip(users, codes, strict=True)]
    profile = st.lists(token, max_size=4)
    profiles = draw(st.none() | st.lists(profile, min_size=len(users), max_size=len(users)))
    return users, texts, profiles, draw(st.lists(st.integers(1, len(users)), max_size=3))


@settings(max_examples=300, deadline=None)
@given(
    worlds(),
    st.integers(1, 8),
    st.sampled_from([1, 2, 3, 5, 50, "all"]),
    st.sampled_from(SPLITS[1:]),
    st.randoms(use_true_random=False),
)
def test_rows_equal_those_of_a_packer_with_lists(world, n, k, split, random):
    users, texts, profiles, cuts = world
    store = store_of(users, texts, profiles, n, cuts)
    expected = brute_prompts(users, n, k, split)
    prompts = stream_prompts(store, split, k)
    assert len(prompts) == len(expected)
    order = random.sample(range(len(expected)), len(expected))
    prompts, expected = prompts.take(np.array(order, np.int64)), [expected[place] for place in order]

    row = build_row(store, prompts)
    wanted = brute_row(expected, users, texts, profiles)
    for name, values in wanted.items():
        assert getattr(row, name).tolist() == values, name
        assert getattr(row, name).dtype == np.int64, name
    assert [int(user) for user in row.prompt_M[row.target_K]] == [p for p, (*_, t) in enumerate(expected) for _ in t]
    targets = [(u, target) for u, _, targets in expected for target in targets]
    assert len(set(targets)) == len(targets) == sum(s == SPLITS.index(split) for user in users for *_, s in user)


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(1, 8), st.sampled_from([1, 2, 5, "all"]), st.sampled_from(SPLITS[1:]))
def test_content_tokens_are_those_of_the_built_rows(world, n, k, split):
    users, texts, profiles, cuts = world
    store = store_of(users, texts, profiles, n, cuts)
    prompts = stream_prompts(store, split, k)
    built = [len(build_row(store, prompts.take(slice(p, p + 1))).tokens_S) for p in range(len(prompts))]
    assert content_tokens(store, prompts).tolist() == built


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(1, 8), st.sampled_from([1, 2, 3, "all"]))
def test_recut_prompts_are_those_cut_from_the_start(world, n, k):
    users, texts, profiles, cuts = world
    store = store_of(users, texts, profiles, n, cuts)
    recutted, direct = recut(store, stream_prompts(store, "train", "all"), k), stream_prompts(store, "train", k)
    for f in fields(Prompts):
        assert getattr(recutted, f.name).tolist() == getattr(direct, f.name).tolist()


@settings(max_examples=200, deadline=None)
@given(worlds(), st.integers(1, 8), st.sampled_from([1, 2, 5, "all"]), st.integers(1, 60))
def test_shortened_prompts_fit_and_show_each_target_its_context(world, n, k, tokens):
    users, texts, _, cuts = world
    store = store_of(users, texts, None, n, cuts)
    whole = stream_prompts(store, "train", k)
    short = shortened(store, whole, tokens)
    served = serving_prompts(store, "train")
    for f in fields(Prompts):  # the same targets in the same order
        assert getattr(recut(store, short, 1), f.name).tolist() == getattr(served, f.name).tolist()
    context_T = np.repeat(short.context_start, short.targets)
    assert (context_T <= served.context_start).all()  # and nothing is missing before any of them
    assert (np.repeat(short.target_start - short.context_start, short.targets) <= n).all()
    assert ((content_tokens(store, short) <= tokens) | (short.targets == 1)).all()


def test_prompts_that_fit_stay_as_they_are():
    store = store_of([[(0, 1, 1)] * 6], [[9, 9]], None, n=2)
    whole = stream_prompts(store, "train", "all")
    assert shortened(store, whole, 17) is whole
    short = shortened(store, whole, 9)  # 3 tokens each, the last label left out
    assert list(zip(*(getattr(short, f.name).tolist() for f in fields(Prompts)), strict=True)) == [
        (0, 0, 0, 3),
        (0, 1, 3, 4),
        (0, 2, 4, 5),
        (0, 3, 5, 6),
    ]


def test_the_row_drawn_in_its_docstring():
    a, b, c, d, e = range(5)
    texts = [[10, 11], [20, 21], [30, 31], [40, 41], [50, 51]]
    users = [[(a, 1, 0), (b, 0, 1), (c, 1, 1)], [(d, 1, 0), (e, 0, 1)]]
    store = store_of(users, texts, [[7, 8], []], n=2)
    row = build_row(store, stream_prompts(store, "train", "all"))
    #                              p  p  a   a   y    b   b   y   c   c   | d   d   y    e   e
    assert row.tokens_S.tolist() == [7, 8, 10, 11, YES, 20, 21, NO, 30, 31, 40, 41, YES, 50, 51]
    assert row.start_M.tolist() == [2, 5, 8, 10, 13]
    assert row.text_M.tolist() == [2, 2, 2, 2, 2]
    assert row.label_M.tolist() == [4, 7, -1, 12, -1]
    assert row.start_E.tolist() == [0, 2, 5, 8, 10, 13]
    assert row.text_stop_E.tolist() == [2, 4, 7, 10, 12, 15]
    assert row.stop_E.tolist() == [2, 5, 8, 10, 13, 15]
    assert row.prompt_M.tolist() == [0, 0, 0, 1, 1]
    assert row.first_P.tolist() == [0, 3]
    assert (row.prefix_start_P.tolist(), row.prefix_stop_P.tolist()) == ([0, 10], [2, 10])
    assert row.target_K.tolist() == [1, 2, 4]
    assert row.answer_K.tolist() == [0, 1, 0]


def test_the_prompts_drawn_in_the_docstring_of_cut():
    store = store_of([[(0, 1, 0), *[(0, 1, 1)] * 5]], [[10]], None, n=2)
    prompts = stream_prompts(store, "train", 2)
    assert prompts.context_start.tolist() == [0, 1, 3]
    assert prompts.target_start.tolist() == [1, 3, 5]
    assert prompts.target_stop.tolist() == [3, 5, 6]


def test_a_serving_prompt_reaches_back_into_earlier_splits():
    store = store_of([[(0, 1, 0), (0, 0, 1), (0, 1, 2), (0, 1, 3)]], [[10]], None, n=3)
    prompts = serving_prompts(store, "test")
    assert (prompts.context_start.tolist(), prompts.target_start.tolist()) == ([0], [3])


def test_no_prompts_make_an_empty_row():
    store = store_of([[(0, 1, 0)]], [[10]], [[7]], n=3)
    row = build_row(store, serving_prompts(store, "test"))
    assert all(len(getattr(row, f.name)) == 0 for f in fields(Row) if f.name not in ("layout", "place_S", "order_M"))


def test_context_labels_may_be_ratings(make_store):
    store = make_store(
        [[(0, 0), (1, 1), (0, 1)]], ["one", "two"], ratings=[[2.0, 5.0, 4.0]], k="all", context_labels="rating"
    )
    row = build_row(store, stream_prompts(store, "train", "all"))
    ids = store.meta.tokens.ratings
    assert list(ids) == ["2", "4", "5"]
    assert row.tokens_S[row.label_M[:-1]].tolist() == [ids["2"], ids["5"]]
    assert row.answer_K.tolist() == [0, 1, 1]


@pytest.mark.parametrize("profiles", [None, ["young", "old"]])
def test_profiles_stand_before_each_prompt(make_store, profiles):
    store = make_store([[(0, 1)] * 3, [(0, 0)]], ["one"], profiles=profiles, k=2)
    row = build_row(store, stream_prompts(store, "train", 2))
    lengths = row.prefix_stop_P - row.prefix_start_P
    assert (lengths > 0).all() if profiles else (lengths == 0).all()
    assert len(lengths) == 3


@pytest.mark.parametrize("build", [build_row, build_unique])
def test_times_order_interactions_and_are_no_input(interim, params_for, tmp_path, build):
    """Other times in the same order: seconds or years apart, or all the same."""
    histories = [[(i % 3, i % 2) for i in range(length)] for length in (1, 4, 9)]
    splits = [(["train"] * 5 + ["valid", "test", "test", "test"])[-len(history) :] for history in histories]
    source = interim(tmp_path / "interim", histories, [{"title": t} for t in ("red", "old lamp", None)], splits)
    table = pq.read_table(source / "interactions.parquet")
    order = table["order"].to_numpy().astype(np.int64)
    found = []
    for number, times in enumerate((order, 10_000_000 * order**2, 0 * order)):
        column = pa.array(times + 5, table["timestamp"].type)
        changed = table.set_column(table.column_names.index("timestamp"), "timestamp", column)
        pq.write_table(changed, source / "interactions.parquet")
        pack(params_for(n=2, k=2), source, tmp_path / str(number))
        store = Store.open(tmp_path / str(number))
        assert store.shards[0].timestamp.tolist() == column.to_pylist()
        prompts = [stream_prompts(store, "train", 2), serving_prompts(store, "test"), training_prompts(store)]
        rows = [asdict(build(store, part)) for part in prompts]
        found.append([asdict(part) for part in prompts] + rows)
    for other in found[1:]:
        np.testing.assert_equal(other, found[0])
