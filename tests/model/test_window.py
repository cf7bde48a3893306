"""What windows leak, where they do not, and what a reset cures."""

import numpy as np
import pytest
import torch

from dti.attention.families import FAMILIES
from dti.attention.forgetting import Forgetting
from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import serving_prompts, stream_prompts
from tests.model.outcome import BACKENDS, POSITIONS, check_same, outcome

PLAIN = {"policy": "window", "context": "all"}


def logits(model, store, k):
    return logits_of(model, store, stream_prompts(store, "train", k), 10_000, "test")


def gap(model, store):
    """The largest distance of a logit in the longest streams to that of the serving prompt."""
    return np.abs(logits(model, store, "all") - logits(model, store, 1)).max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("position", POSITIONS)
def test_window_streams_equal_serving_prompts_with_one_layer(ctr_model, store, family, position):
    model = ctr_model(family, layers=1, probe_position=position, **PLAIN)
    serving = outcome(model, build_row(store, serving_prompts(store, "train")))
    for k in (5, "all"):
        check_same(outcome(model, build_row(store, stream_prompts(store, "train", k))), serving)


def test_window_leaks_with_more_layers(ctr_model, store):
    model = ctr_model(layers=3, **PLAIN)
    gap = np.abs(logits(model, store, "all") - logits(model, store, 1))
    first_of_user = [0, 1]
    assert gap[first_of_user].max() < 1e-5
    assert gap.max() > 1e-3


def reset(family="step", strength=1.0, at="both"):
    return PLAIN | {"forgetting": Forgetting(family, strength, at)}


@pytest.mark.parametrize("at", ["probes", "content", "both"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_alpha_zero_is_the_plain_stream(ctr_model, store_for, backend, at):
    store = store_for(backend)
    row = build_row(store, stream_prompts(store, "train", "all"))
    plain = outcome(ctr_model(layers=3, backend=backend, **PLAIN), row)
    for family in ("linear", "exponential", "step"):
        check_same(outcome(ctr_model(layers=3, backend=backend, **reset(family, 0.0, at)), row), plain)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_initial_values_are_those_of_a_state_that_no_layer_changed(ctr_model, store, family, layers):
    """Where all layers but the last add nothing, the last one's states are the initial ones, and no reset is seen.

    Its norm, where the family has one, must be its own, and the embeddings must be those that enter the first layer.
    """
    found = []
    for sight in (PLAIN, reset()):
        model = ctr_model(family, layers=layers, **sight)
        changed = logits(model, store, "all")
        with torch.no_grad():
            for layer in model.stock.get_decoder().layers[:-1]:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
        found.append((logits(model, store, "all"), changed))
    (plain, plain_changed), (forgot, forgot_changed) = found
    np.testing.assert_allclose(forgot, plain, atol=1e-6)
    assert (np.abs(forgot_changed - plain_changed).max() > 1e-3) == (layers > 1)


@pytest.mark.parametrize("family", ["llama", "gemma", "olmo2"])
def test_alpha_one_cuts_all_deep_leakage_through_values(ctr_model, store, family):
    """With attention weights that do not depend on states, nothing else carries older interactions: parity holds.

    What it does not cut: queries and keys are still made of states, so older interactions still move the weights. Nor
    does it cut where content alone or probes alone forget.
    """
    gaps = {}
    for name, sight in {"none": PLAIN, **{at: reset(at=at) for at in ("probes", "content", "both")}}.items():
        model = ctr_model(family, layers=3, **sight)
        gaps[name] = gap(model, store)
        with torch.no_grad():
            for layer in model.stock.get_decoder().layers:
                layer.self_attn.q_proj.weight.zero_()
        gaps[f"{name}, constant weights"] = gap(model, store)
    assert gaps["both, constant weights"] < 1e-5
    assert min(gaps[f"{name}, constant weights"] for name in ("none", "probes", "content")) > 1e-3
    assert 1e-5 < gaps["both"] < gaps["none"]


@pytest.mark.parametrize("at", ["probes", "content", "both"])
def test_forgetting_backends_equal_the_reference_through_the_model(ctr_model, store_for, at):
    store = store_for("flex")
    row = build_row(store, stream_prompts(store, "train", "all"))
    expected, *others = (
        outcome(ctr_model(backend=backend, layers=3, **reset("linear", 0.7, at)).double(), row) for backend in BACKENDS
    )
    for found in others:
        check_same(found, expected, gradients=1e-5)


def embedding_gradient(model, row):
    """The gradient of the last target's logit in the embeddings of all tokens, (1, T, width)."""
    embedded = []

    def keep(module, inputs, output):
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    model.stock.get_decoder().get_input_embeddings().register_forward_hook(keep)
    model(row)[-1].backward()
    return embedded[0].grad


def test_the_reach_of_a_window_is_n_interactions_a_layer(ctr_model, make_store):
    """The oldest interaction whose embedding has a gradient in the last target's logit stands n x layers back."""
    n = 2
    history = [(i, i % 2) for i in range(12)]
    texts = [f"word{i}" for i in range(12)]
    store = make_store([history], texts, n=n, k="all", vocabulary=300)
    row = build_row(store, stream_prompts(store, "train", "all"))
    for layers in (1, 2, 3):
        model = ctr_model(layers=layers, n=n, **PLAIN)
        gradient = embedding_gradient(model, row)
        moved = gradient[0, : row.tokens_S.size].abs().amax(-1) > 0
        oldest = int(np.searchsorted(row.start_M, int(moved.nonzero()[0]), side="right")) - 1
        assert len(history) - 1 - oldest == n * layers
