"""A target's logit in a training prompt against its serving prompt, and what it may depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dti.attention.families import FAMILIES
from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import recut, serving_prompts, stream_prompts
from tests.model.outcome import BACKENDS, POSITIONS, check_same, outcome


def logits(model, store, k, tokens=10_000):
    prompts = stream_prompts(store, "train", k)
    return logits_of(model, store, prompts, tokens, "test")


@pytest.mark.parametrize("k", [5, 50, "all"])
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_isolated_streams_equal_serving_prompts(ctr_model, store_for, backend, position, context, k):
    store = store_for(backend)
    model = ctr_model(layers=3, backend=backend, probe_position=position, context=context)
    np.testing.assert_allclose(logits(model, store, k), logits(model, store, 1), atol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
def test_streams_of_fifty_equal_serving_prompts_on_flex(ctr_model, store, position):
    model = ctr_model(backend="flex", probe_position=position)
    np.testing.assert_allclose(logits(model, store, 50), logits(model, store, 1, tokens=300), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_isolated_streams_equal_serving_prompts_in_every_family(ctr_model, store, backend, family, position):
    model = ctr_model(family, layers=3, backend=backend, probe_position=position)
    serving = logits(model, store, 1)
    for k in (5, 50, "all"):
        np.testing.assert_allclose(logits(model, store, k), serving, atol=1e-5)


def check_training(model, store):
    """Streams of any k have the logits and gradients of serving prompts."""
    serving = outcome(model, build_row(store, serving_prompts(store, "train")))
    for k in (5, 50, "all"):
        check_same(outcome(model, build_row(store, stream_prompts(store, "train", k))), serving)


@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_isolated_streams_train_as_serving_prompts(ctr_model, store_for, backend, position, context):
    check_training(ctr_model(backend=backend, probe_position=position, context=context), store_for(backend))


TRAINED = [
    ("reference", "local", "label"),
    ("blocks", "local", "label"),
    ("blocks", "rope", "all"),
    ("blocks", "alibi", "all"),
    ("flex", "local", "label"),
]


@pytest.mark.parametrize(
    ("family", "backend", "position", "context"),
    [(family, *kind) for family in FAMILIES for kind in TRAINED],
)
def test_isolated_streams_train_as_serving_prompts_in_every_family(
    ctr_model, store_for, family, backend, position, context
):
    model = ctr_model(family, backend=backend, probe_position=position, context=context)
    check_training(model, store_for(backend))


def test_passes_of_any_size_give_the_same_logits(ctr_model, store):
    model = ctr_model(policy="window", context="all")
    np.testing.assert_allclose(logits(model, store, 5, tokens=64), logits(model, store, 5), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize(("policy", "probe_tokens"), [("window", 1), ("isolated", 1), ("isolated", 3)])
def test_a_targets_own_label_never_reaches_its_probe(ctr_model, store, policy, probe_tokens, context, backend):
    model = ctr_model(policy=policy, context=context, backend=backend, probe_tokens=probe_tokens)
    row = build_row(store, stream_prompts(store, "train", "all"))
    tokens = model.tokens
    with torch.no_grad():
        before = model(row)
        for probe in (2, 6, 20, 50):
            place = row.start_M[row.target_K[probe]] + row.text_M[row.target_K[probe]]
            flipped = row.tokens_S.copy()
            flipped[place] = tokens.yes if flipped[place] != tokens.yes else tokens.no
            after = model(replace(row, tokens_S=flipped))
            assert after[probe] == before[probe]
            assert not torch.equal(after, before), "later targets do read it"


@pytest.mark.parametrize("probe_tokens", [1, 3])
def test_probes_are_read_by_nobody_but_those_of_their_target(ctr_model, store, probe_tokens):
    model = ctr_model(policy="window", context="all", probe_tokens=probe_tokens)
    every = build_row(store, stream_prompts(store, "train", "all"))
    half = replace(every, target_K=every.target_K[::2], answer_K=every.answer_K[::2])
    with torch.no_grad():
        torch.testing.assert_close(model(half), model(every)[::2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["blocks", "flex"])
@pytest.mark.parametrize("policy", ["window", "isolated"])
def test_backends_equal_the_reference_through_the_model_gradients_too(ctr_model, store, policy, backend):
    row = build_row(store, recut(store, stream_prompts(store, "train", "all"), 5))
    expected, found = (
        outcome(ctr_model(policy=policy, backend=name, context="all"), row) for name in ("reference", backend)
    )
    check_same(found, expected)
