"""Some users' prompts: whole users, the same ones however their targets are cut."""

from itertools import pairwise

import numpy as np
import pytest

from dti.prompts.packing import some_users, stream_prompts

HISTORIES = [[(0, 1)] * length for length in (4, 7, 3, 9, 5, 6, 8, 2)]


@pytest.fixture(scope="module", params=[1_000_000, 10])
def store(request, make_store):
    """Eight users of two to nine targets, in one shard or several."""
    return make_store(HISTORIES, ["Heat"], n=2, shard_interactions=request.param)


def rows(prompts):
    """The targets of prompts, as (shard, row)."""
    ranges = zip(prompts.shard, prompts.target_start, prompts.target_stop, strict=True)
    return {(int(shard), row) for shard, start, stop in ranges for row in range(start, stop)}


def whole_users(store, found):
    """How many users' targets ``found`` is made of; fails where it has a part of one."""
    users = [rows(stream_prompts(store, "train", "all").take(slice(u, u + 1))) for u in range(len(HISTORIES))]
    assert all(user <= found or not user & found for user in users)
    return sum(user <= found for user in users)


@pytest.mark.parametrize("k", [1, 2, 5, "all"])
@pytest.mark.parametrize("targets", [10, 20, 43, 44, 1000])
def test_users_are_whole_within_the_limit_and_the_same_for_every_k(store, k, targets):
    chosen = some_users(store, stream_prompts(store, "train", k), targets, seed=3)
    assert rows(chosen) == rows(some_users(store, stream_prompts(store, "train", "all"), targets, seed=3))
    assert chosen.targets.sum() == len(rows(chosen)) <= targets
    assert 0 < whole_users(store, rows(chosen)) <= 8
    assert (whole_users(store, rows(chosen)) == 8) == (targets >= 44)


def test_a_smaller_draw_is_part_of_a_larger_one_and_seeds_differ(store):
    prompts = stream_prompts(store, "train", 2)
    draws = [rows(some_users(store, prompts, targets, seed=3)) for targets in range(10, 45)]
    assert all(small <= large for small, large in pairwise(draws))
    assert len({frozenset(rows(some_users(store, prompts, 20, seed))) for seed in range(20)}) > 3


def test_one_user_stays_however_low_the_limit_is(store):
    chosen = some_users(store, stream_prompts(store, "train", 1), 1, seed=0)
    assert whole_users(store, rows(chosen)) == 1
    assert np.all(np.diff(chosen.target_start) == 1)


def test_prompts_keep_their_order(store):
    prompts = stream_prompts(store, "train", 2)
    every = some_users(store, prompts, 1000, seed=3)
    assert all(np.array_equal(getattr(every, name), values) for name, values in vars(prompts).items())
    some = some_users(store, prompts, 20, seed=3)
    assert np.all(np.diff(some.shard * 1000 + some.target_start) > 0)
