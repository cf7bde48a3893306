"""Small masks, drawn and asserted literally."""

import numpy as np
import pytest
import torch

from dti.attention.masks import listing_of, mask_of
from dti.attention.visibility import Sight, view_of
from dti.prompts.beside import Asked, asked_row
from dti.prompts.catalogue import Catalogue
from dti.prompts.row import Row


def ints(*values):
    return np.array(values, dtype=np.int64)


@pytest.fixture
def one_prompt():
    """Contexts a b, target c: item texts of one token. Content: a y b y c; one probe."""
    return Row(
        layout="stream",
        tokens_S=ints(10, 3, 11, 4, 12),
        start_E=ints(0, 2, 4),
        text_stop_E=ints(1, 3, 5),
        stop_E=ints(2, 4, 5),
        start_M=ints(0, 2, 4),
        text_M=ints(1, 1, 1),
        label_M=ints(1, 3, -1),
        prompt_M=ints(0, 0, 0),
        first_P=ints(0),
        prefix_start_P=ints(0),
        prefix_stop_P=ints(0),
        target_K=ints(2),
        answer_K=ints(1),
    )


@pytest.fixture
def two_prompts():
    """Prompt 1: profile u, context a, targets b (two tokens) and c; prompt 2: profile v, target d. Probes b c d."""
    return Row(
        layout="stream",
        tokens_S=ints(20, 10, 3, 11, 11, 4, 12, 21, 13),
        start_E=ints(0, 1, 3, 6, 7, 8),
        text_stop_E=ints(1, 2, 5, 7, 8, 9),
        stop_E=ints(1, 3, 6, 7, 8, 9),
        start_M=ints(1, 3, 6, 8),
        text_M=ints(1, 2, 1, 1),
        label_M=ints(2, 5, -1, -1),
        prompt_M=ints(0, 0, 0, 1),
        first_P=ints(0, 3),
        prefix_start_P=ints(0, 7),
        prefix_stop_P=ints(1, 8),
        target_K=ints(1, 2, 3),
        answer_K=ints(1, 0, 1),
    )


def draw(row, **sight):
    mask = mask_of(view_of(row, Sight(**{"probe_position": "local", "n": 1} | sight)))
    return ["".join("1" if cell else "." for cell in line) for line in mask.tolist()]


def test_window_reads_n_interactions_back(one_prompt):
    assert draw(one_prompt, policy="window", context="all") == [
        # a y b y c p
        "1.....",
        "11....",
        "111...",
        "1111..",
        "..111.",
        "..1111",
    ]


def test_isolated_reads_its_own_interaction(one_prompt):
    assert draw(one_prompt, policy="isolated", context="label") == [
        "1.....",
        "11....",
        "..1...",
        "..11..",
        "....1.",
        "...111",
    ]


def test_isolated_probe_reads_all_context_tokens(one_prompt):
    assert draw(one_prompt, policy="isolated", context="all")[-1] == "..1111"
    assert draw(one_prompt, policy="isolated", context="all", n=2)[-1] == "111111"


def test_windows_and_prefixes_stay_in_their_prompt(two_prompts):
    assert draw(two_prompts, policy="window", context="all", n=1) == [
        # u a y b b y c v d B C D
        "1...........",
        ".1..........",
        ".11.........",
        ".111........",
        ".1111.......",
        ".11111......",
        "...1111.....",
        ".......1....",
        "........1...",
        "11111....1..",
        "1..1111...1.",
        ".......11..1",
    ]


def test_label_context_leaves_only_label_tokens_and_the_target(two_prompts):
    lines = draw(two_prompts, policy="isolated", context="label", n=5)
    assert lines[-3:] == ["1.111....1..", "1.1..11...1.", ".......11..1"]


def test_positions(two_prompts):
    local = view_of(two_prompts, Sight("isolated", "local", "label", 1))
    assert local.key_position_S.tolist() == [-1, -1, 0, -2, -1, 0, -1, -1, -1]
    assert torch.equal(local.position_S, local.key_position_S)
    assert local.query_position_K.tolist() == [0, 0, 0]
    rope = view_of(two_prompts, Sight("isolated", "rope", "all", 1))
    assert rope.position_S.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert rope.query_position_K.tolist() == [5, 7, 2]
    assert not rope.biased
    window = view_of(two_prompts, Sight("window", "alibi", "all", 1))
    assert window.position_S.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert window.key_position_S.tolist() == [0] * 9


def test_distance_counts_interactions_and_is_zero_for_the_profile(two_prompts):
    view = view_of(two_prompts, Sight("window", "local", "all", 1))
    listing = listing_of(view)
    assert listing.keys_L.tolist() == [1, 2, 3, 4, 5, 6, 8, 0, 7, 9, 10, 11]
    assert (view.target_K[1] - listing.order_L).clamp(min=0).tolist() == [2, 2, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0]


def test_the_own_label_is_no_key(random_row):
    for policy in ("window", "isolated"):
        for context in ("all", "label"):
            row = random_row(3, prompts=4, n=4, targets=5)
            mask = mask_of(view_of(row, Sight(policy, "local", context, 4)))
            for k, target in enumerate(row.target_K):
                later = np.arange(row.start_M[target] + row.text_M[target], row.tokens_S.size)
                assert not mask[row.tokens_S.size + k, later].any()


def test_probe_tokens_of_a_target_read_the_same_and_those_before_them(one_prompt, two_prompts):
    assert draw(one_prompt, policy="isolated", context="label", probe_tokens=3)[5:] == [
        # a y b y c p q r
        "...111..",
        "...1111.",
        "...11111",
    ]
    assert draw(two_prompts, policy="isolated", context="label", probe_tokens=2)[9:] == [
        # u a y b b y c v d B B C C D D
        "1.111....1.....",
        "1.111....11....",
        "1....11....1...",
        "1....11....11..",
        ".......11....1.",
        ".......11....11",
    ]


def test_probe_tokens_stand_one_behind_another(two_prompts):
    view = view_of(two_prompts, Sight("isolated", "local", "label", 1, probe_tokens=2))
    assert view.query_position_K.tolist() == [0, 1, 0, 1, 0, 1]
    assert view.target_K.tolist() == [1, 1, 2, 2, 3, 3]
    alibi = view_of(two_prompts, Sight("isolated", "alibi", "label", 1, probe_tokens=2))
    assert alibi.query_position_K.tolist() == [0, 1, 0, 1, 0, 1]
    rope = view_of(two_prompts, Sight("isolated", "rope", "all", 1, probe_tokens=2))
    assert rope.query_position_K.tolist() == [5, 6, 7, 8, 2, 3]


@pytest.fixture
def beside():
    """Two requests: contexts a b (labels y z) with candidates d (two tokens) and e; context c (y) with candidate f."""
    return asked_row(
        Catalogue.of(
            ints(10, 11, 12, 13, 13, 14, 15).astype(np.int32), ints(0, 1, 2, 3, 5, 6, 7), *NO_PROFILES, ints(3, 4)
        ),
        [Asked(ints(0, 1), ints(3, 4), ints(3, 4)), Asked(ints(2), ints(3), ints(5))],
        unique=False,
    )


NO_PROFILES = (np.empty(0, np.int32), ints(0))


def test_candidates_beside_one_another(beside):
    assert beside.tokens_S.tolist() == [10, 3, 11, 4, 12, 3, 13, 13, 14, 15]
    assert draw(beside, policy="window", context="all", n=2) == [
        "1............",
        "11...........",
        "111..........",
        "1111.........",
        "....1........",
        "....11.......",
        "1111..1......",
        "1111..11.....",
        "1111....1....",
        "....11...1...",
        "1111..11..1..",
        "1111....1..1.",
        "....11...1..1",
    ]
    labels_alone = draw(beside, policy="isolated", context="label", n=1)
    assert labels_alone[6:] == [
        "......1......",
        "......11.....",
        "........1....",
        ".........1...",
        "...1..11..1..",
        "...1....1..1.",
        ".....1...1..1",
    ]


def test_candidates_beside_one_another_with_two_probe_tokens_each(beside):
    lines = draw(beside, policy="window", context="all", n=2, probe_tokens=2)
    one = draw(beside, policy="window", context="all", n=2)
    assert [line[:10] for line in lines] == [line[:10] for line in one[:10] + [x for x in one[10:] for _ in range(2)]]
    assert [line[10:] for line in lines[10:]] == ["1.....", "11....", "..1...", "..11..", "....1.", "....11"]


def test_candidates_all_begin_where_the_first_one_does(beside):
    view = view_of(beside, Sight("window", "rope", "all", 2))
    assert view.position_S.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 4, 2]
    assert view.query_position_K.tolist() == [6, 5, 3]
    assert (view.target_K - view.segments[0].order_N[[1, 1, 4]]).tolist() == [2, 2, 1]
