"""Steps hold exactly as many targets as asked for; passes fit; nothing is lost or doubled."""

from itertools import pairwise

import numpy as np
import pytest

from dti.attention.visibility import Sight
from dti.prompts import composition as composition_module
from dti.prompts.batching import passes
from dti.prompts.build import content_tokens, interactions_of
from dti.prompts.composition import Waiting, epoch_steps
from dti.prompts.packing import Prompts, ranges, training_prompts
from dti.training.run import work_of
from dti.training.schedule import rate_at


@pytest.fixture(scope="module", params=[1, 3, "all"])
def store(request, make_store):
    rng = np.random.default_rng(7)
    histories = [[(int(rng.integers(5)), int(rng.integers(2))) for _ in range(size)] for size in (1, 2, 30, 9, 4, 17)]
    splits = [["context"] * min(2, len(h)) + ["train"] * (len(h) - 2) for h in histories]
    return make_store(histories, ["a", "b c", "d e f", "g", "h i"], splits=splits, n=4, k=request.param)


def places(prompts):
    return ranges(prompts.target_start, prompts.targets).tolist()


@pytest.mark.parametrize("composition", ["mixed", "overlapping"])
@pytest.mark.parametrize("targets", [1, 7, 8, 1000])
def test_steps_are_exact_and_complete(store, targets, composition, small_pieces):
    prompts = training_prompts(store)
    steps = list(epoch_steps(store, prompts, targets, (1, 0), composition))
    sizes = [int(step.targets.sum()) for step in steps]
    total = int(prompts.targets.sum())
    assert sizes == [targets] * (total // targets) + ([total % targets] if total % targets else [])
    assert sorted(places(Prompts.join(steps))) == sorted(places(prompts))


@pytest.mark.parametrize("composition", ["mixed", "overlapping"])
def test_every_target_keeps_its_n_context_interactions(store, composition, small_pieces):
    order = store.shards[0].order
    for step in epoch_steps(store, training_prompts(store), 5, (1, 0), composition):
        available = order[step.target_start]
        assert (step.target_start - step.context_start == np.minimum(available, 4)).all()


@pytest.mark.parametrize("composition", ["mixed", "overlapping"])
def test_the_order_depends_on_seed_and_epoch_alone(store, composition, small_pieces):
    prompts = training_prompts(store)
    first, again, other = (
        places(Prompts.join(list(epoch_steps(store, prompts, 5, s, composition)))) for s in ((1, 0), (1, 0), (1, 1))
    )
    assert first == again != other


def test_overlapping_steps_hold_users_of_the_same_items(make_store):
    histories = [[(kind * 3 + place % 3, place % 2) for place in range(7)] for kind in (0, 1, 2) * 4]
    texts = [f"item {number}" for number in range(9)]
    store = make_store(histories, texts, splits=[["context"] + ["train"] * 6] * 12, n=2, k="all")
    steps = list(epoch_steps(store, training_prompts(store), 24, (1, 0), "overlapping"))
    kinds = [set(interactions_of(store, step).item_M // 3) for step in steps]
    assert sorted(kinds, key=min) == [{0}, {1}, {2}]


def test_a_step_of_more_than_waits_is_all_that_waits(store):
    prompts = training_prompts(store)
    waiting = Waiting(store, prompts)
    step = waiting.step(waiting.targets + 5)
    assert sorted(places(step)) == sorted(places(prompts))
    assert waiting.targets == len(waiting.rest()) == 0


@pytest.fixture
def small_pieces(monkeypatch):
    """Several pieces a prompt, several chunks an epoch."""
    monkeypatch.setattr(composition_module, "PIECE", 4)
    monkeypatch.setattr(composition_module, "CHUNK", 5)


@pytest.mark.parametrize("tokens", [1, 30, 10_000])
def test_passes_fit_and_keep_the_order(store, tokens):
    prompts = training_prompts(store)
    parts = passes(store, prompts, tokens)
    assert places(Prompts.join(parts)) == places(prompts)
    assert all(content_tokens(store, part).sum() <= tokens or len(part) == 1 for part in parts)


def test_isolated_histories_alone_are_cut_to_fit_a_pass(store, params_for):
    train = params_for().train.model_copy(update={"tokens_per_pass": 64})
    stored = training_prompts(store)
    window = work_of(store, train, Sight("window", "alibi", "all", store.meta.n)).training
    assert window.context_start.tolist() == stored.context_start.tolist()
    isolated = work_of(store, train, Sight("isolated", "alibi", "all", store.meta.n)).training
    assert places(isolated) == places(stored)
    assert content_tokens(store, isolated).max() <= 64
    assert (len(isolated) > len(stored)) == (store.meta.k == "all")


def test_the_rate_rises_then_falls_to_zero():
    rates = [rate_at(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] < 0.001
