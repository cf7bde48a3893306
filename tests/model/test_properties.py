"""Random users, texts and prompts: every backend and layout against the reference, forward and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import serving_prompts, stream_prompts
from dti.prompts.unique import build_unique

WORDS = ["red", "blue", "lamp", "chair", "old", "two", "big"]


@st.composite
def worlds(draw):
    """Ragged texts, some of them empty; users of 1 to 14 interactions; perhaps profiles; a context and a k."""
    text = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
    texts = draw(st.lists(text, min_size=2, max_size=6))
    row = st.tuples(st.integers(0, len(texts) - 1), st.integers(0, 1))
    users = draw(st.lists(st.lists(row, min_size=1, max_size=14), min_size=1, max_size=5))
    profiles = draw(st.none() | st.lists(st.sampled_from(["", "old", "young man"]), min_size=5, max_size=5))
    return (
        users,
        texts,
        profiles and profiles[: len(users)],
        draw(st.integers(1, 6)),
        draw(st.sampled_from([2, 5, "all"])),
    )


@pytest.fixture
def models(ctr_model):
    """``models(backend, **sight)``: the same random weights every time, in float64."""
    made = {}

    def make(backend, **sight):
        key = (backend, *sorted(sight.items()))
        if key not in made:
            made[key] = ctr_model(layers=2, backend=backend, **sight).double()
        return made[key]

    return make


def outcome(model, row):
    """The logits, and the gradient of every weight."""
    model.zero_grad(set_to_none=True)
    out = model(row)
    (out * torch.linspace(-1, 2, out.numel())).sum().backward()
    return [out, *(p.grad for p in model.parameters() if p.grad is not None)]


SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(worlds(), st.sampled_from(["local", "alibi"]), st.sampled_from(["all", "label"]))
def test_isolated_layouts_and_backends_agree(make_store, models, world, position, context):
    users, texts, profiles, n, k = world
    store = make_store(users, texts, profiles=profiles, n=n, k=k)
    prompts = stream_prompts(store, "train", k)
    sight = {"probe_position": position, "context": context, "n": n}
    expected = outcome(models("reference", **sight), build_row(store, prompts))
    for build in (build_row, build_unique):
        found = outcome(models("blocks", **sight), build(store, prompts))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        outcome(models("reference", **sight), build_unique(store, prompts)), expected, atol=1e-5, rtol=1e-4
    )
    served = outcome(models("blocks", **sight), build_row(store, serving_prompts(store, "train")))
    torch.testing.assert_close(served, expected, atol=1e-5, rtol=1e-4)


@SETTINGS
@given(worlds(), st.sampled_from(["rope", "local", "alibi"]))
def test_window_streams_agree_between_backends(make_store, models, world, position):
    users, texts, profiles, n, k = world
    store = make_store(users, texts, profiles=None if position == "rope" else profiles, n=n, k=k)
    row = build_row(store, stream_prompts(store, "train", k))
    sight = {"policy": "window", "probe_position": position, "context": "all", "n": n}
    expected, found = (outcome(models(backend, **sight), row) for backend in ("reference", "blocks"))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", ["stream", "unique"])
def test_other_items_before_the_window_change_nothing(ctr_model, make_store, layout):
    """Within 1e-6: the row has other shapes, and other distinct items."""
    rng = np.random.default_rng(1)
    texts = [" ".join(WORDS[: 1 + i % 7]) + f" {i}" for i in range(12)]
    store = make_store([[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(20)]], texts, n=3, k="all")
    shard = store.shards[0]
    item, label = shard.item.copy(), shard.context_label.copy()
    item[:8], label[:8] = (item[:8] + 5) % 12, label[7::-1]
    other = replace(store, shards=[replace(shard, item=item, context_label=label)])
    model = ctr_model(layers=3)
    model.layout = layout
    before, after = (logits_of(model, s, stream_prompts(s, "train", "all"), 10_000, "test") for s in (store, other))
    assert np.abs(after[11:] - before[11:]).max() < 1e-6
    assert np.abs(after[:11] - before[:11]).max() > 1e-3
