"""Random users, texts and prompts: every backend and layout against the reference, forward and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dti.attention.forgetting import Forgetting
from dti.model.scoring import logits_of
from dti.prompts.batching import rows
from dti.prompts.build import build_row
from dti.prompts.packing import serving_prompts, stream_prompts
from tests.model.outcome import BACKENDS, POSITIONS, check_same, outcome

WORDS = ["red", "blue", "lamp", "chair", "old", "two", "big"]


@st.composite
def worlds(draw):
    """Ragged texts, some of them empty; users of 1 to 14 interactions; perhaps profiles; two or five label tokens; a
    context and a k."""
    text = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
    texts = draw(st.lists(text, min_size=2, max_size=6))
    row = st.tuples(st.integers(0, len(texts) - 1), st.integers(1, 5))
    users = draw(st.lists(st.lists(row, min_size=1, max_size=14), min_size=1, max_size=5))
    profiles = draw(st.none() | st.lists(st.sampled_from(["", "old", "young man"]), min_size=5, max_size=5))
    pack = {"profiles": profiles and profiles[: len(users)], "n": draw(st.integers(1, 6))}
    if draw(st.booleans()):
        pack |= {"ratings": [[stars for _, stars in user] for user in users], "context_labels": "rating"}
    return (
        [[(item, int(stars > 3)) for item, stars in user] for user in users],
        texts,
        pack | {"k": draw(st.sampled_from([2, 5, "all"]))},
    )


@pytest.fixture
def models(ctr_model):
    """``models(backend, **sight)``: the same random weights every time, in float64; learned slopes are no ALiBi's."""
    made = {}

    def make(backend, **sight):
        key = (backend, *sorted(sight.items()))
        if key not in made:
            made[key] = ctr_model(layers=2, backend=backend, **sight).double()
            with torch.no_grad():
                for slopes in made[key].slopes or []:
                    slopes.mul_(torch.tensor([1.0, -0.5, 3.0, 0.2]))
        return made[key]

    return make


SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


KINDS = [(position, "fixed", 1) for position in POSITIONS]
KINDS += [
    ("alibi", "learned", 1),
    ("local", "learned", 3),
    ("rope", "fixed", 2),
    ("alibi", "fixed", 2),
    ("local", "fixed", 4),
]
"""Positions, slopes, and probe tokens of a target."""
PASSES = st.sampled_from([10_000, 150])
"""Tokens of a pass: one pass of all, or several."""
FLEX = st.sampled_from([(), (), ("flex",)])
"""Dense on the CPU, and so in a third of the examples alone."""


@SETTINGS
@given(worlds(), st.sampled_from(KINDS), st.sampled_from(["all", "label"]), PASSES, FLEX, st.booleans())
def test_isolated_layouts_and_backends_agree(make_store, models, world, kind, context, tokens, flex, unique):
    """``rope`` has neither the unique layout nor, in streams, prefixes; flex learns no slopes."""
    users, texts, pack = world
    position, slopes, probe_tokens = kind
    rope = position == "rope"
    store = make_store(users, texts, **pack | ({"profiles": None} if rope else {}))
    prompts = stream_prompts(store, "train", pack["k"])
    sight = {"probe_position": position, "context": context, "n": pack["n"], "slopes": slopes}
    sight["probe_tokens"] = probe_tokens
    expected = outcome(models("reference", **sight), build_row(store, prompts))
    runs = [("blocks", "stream")] + ([] if rope else [("blocks", "unique"), ("reference", "unique")])
    runs += [(name, "unique" if unique and not rope else "stream") for name in flex if slopes == "fixed"]
    for backend, layout in runs:
        found = outcome(models(backend, **sight), *rows(store, prompts, tokens, layout))
        check_same(found, expected, gradients=1e-5)
    served = outcome(models("blocks", **sight), build_row(store, serving_prompts(store, "train")))
    check_same(served, expected, gradients=1e-5)


FORGETTING = st.none() | st.builds(
    Forgetting,
    st.sampled_from(["linear", "exponential", "step"]),
    st.sampled_from([0.4, 1.0]),
    st.sampled_from(["probes", "content", "both"]),
)


@SETTINGS
@given(worlds(), st.sampled_from(KINDS), st.sampled_from(["all", "label"]), PASSES, FLEX, FORGETTING)
def test_window_streams_agree_between_backends(make_store, models, world, kind, context, tokens, flex, forgetting):
    users, texts, pack = world
    position, slopes, probe_tokens = kind
    store = make_store(users, texts, **pack | ({"profiles": None} if position == "rope" else {}))
    sight = {"policy": "window", "probe_position": position, "context": context, "n": pack["n"]}
    sight |= {"forgetting": forgetting, "slopes": slopes, "probe_tokens": probe_tokens}
    streams = stream_prompts(store, "train", pack["k"])
    expected = outcome(models("reference", **sight), build_row(store, streams))
    for backend in ("blocks", *(flex if slopes == "fixed" else ())):
        found = outcome(models(backend, **sight), *rows(store, streams, tokens, "stream"))
        check_same(found, expected, gradients=1e-5)


CHANGES = {
    "an older one": (slice(0, 8), slice(0, 8), slice(11, None)),
    "its own label, and later ones": (slice(12, None), slice(11, None), slice(0, 12)),
}
"""Which of 20 interactions' items and labels change, and which targets (n = 3) may see nothing of that."""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("layout", "position"), [("stream", p) for p in POSITIONS] + [("unique", "alibi"), ("unique", "local")]
)
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_target_may_not_read_is_changed_in_the_data(ctr_model, make_store, change, layout, position, backend):
    """Nothing within 1e-6: the row has other shapes, and other distinct items."""
    items, labels, blind = CHANGES[change]
    rng = np.random.default_rng(1)
    texts = [" ".join(WORDS[: 1 + i % 7]) + f" {i}" for i in range(12)]
    store = make_store([[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(20)]], texts, n=3, k="all")
    shard, tokens = store.shards[0], store.meta.tokens
    item, answer, label = shard.item.copy(), shard.label.copy(), shard.context_label.copy()
    item[items] = (item[items] + 5) % 12
    answer[labels] = 1 - answer[labels]
    label[labels] = np.where(answer[labels], tokens.yes, tokens.no)
    other = replace(store, shards=[replace(shard, item=item, label=answer, context_label=label)])
    for context in ("all", "label"):
        model = ctr_model(layers=3, backend=backend, probe_position=position, context=context, tokens=tokens)
        model.layout = layout
        before, after = (logits_of(model, s, stream_prompts(s, "train", "all"), 10_000, "test") for s in (store, other))
        moved = np.abs(after - before)
        assert moved[blind].max() < 1e-6
        assert np.delete(moved, blind).max() > 1e-3
