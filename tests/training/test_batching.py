"""Steps hold exactly as many targets as asked for; passes fit; nothing is lost or doubled."""

from itertools import pairwise

import numpy as np
import pytest

from dti.attention.visibility import Sight
from dti.prompts.batching import epoch_steps, passes
from dti.prompts.build import content_tokens
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


@pytest.mark.parametrize("targets", [1, 7, 8, 1000])
def test_steps_are_exact_and_complete(store, targets):
    prompts = training_prompts(store)
    steps = list(epoch_steps(store, prompts, targets, (1, 0)))
    sizes = [int(step.targets.sum()) for step in steps]
    total = int(prompts.targets.sum())
    assert sizes == [targets] * (total // targets) + ([total % targets] if total % targets else [])
    assert sorted(places(Prompts.join(steps))) == sorted(places(prompts))


def test_every_target_keeps_its_n_context_interactions(store):
    order = store.shards[0].order
    for step in epoch_steps(store, training_prompts(store), 5, (1, 0)):
        available = order[step.target_start]
        assert (step.target_start - step.context_start == np.minimum(available, 4)).all()


def test_the_order_depends_on_seed_and_epoch_alone(store):
    prompts = training_prompts(store)
    first, again, other = (
        places(Prompts.join(list(epoch_steps(store, prompts, 5, s)))) for s in ((1, 0), (1, 0), (1, 1))
    )
    assert first == again != other


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
