"""A target's logit in a training prompt against its serving prompt, and what it may depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dti.attention.families import FAMILIES
from dti.attention.forgetting import Forgetting
from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import recut, stream_prompts

POSITIONS = ["rope", "alibi", "local"]


def logits(model, store, k, tokens=10_000):
    prompts = stream_prompts(store, "train", k)
    return logits_of(model, store, prompts, tokens, "test")


@pytest.mark.parametrize("k", [5, 50, "all"])
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_isolated_streams_equal_serving_prompts(ctr_model, store, backend, position, context, k):
    model = ctr_model(layers=3, backend=backend, probe_position=position, context=context)
    np.testing.assert_allclose(logits(model, store, k), logits(model, store, 1), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_isolated_streams_equal_serving_prompts_in_every_family(ctr_model, store, backend, family, position):
    model = ctr_model(family, layers=3, backend=backend, probe_position=position)
    serving = logits(model, store, 1)
    for k in (5, 50, "all"):
        np.testing.assert_allclose(logits(model, store, k), serving, atol=1e-5)


def gradients(model, store, k):
    """Of a weighted sum of all logits, by parameter."""
    model.zero_grad()
    out = model(build_row(store, stream_prompts(store, "train", k)))
    (out * torch.linspace(-1, 1, out.numel())).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_isolated_streams_train_as_serving_prompts_in_every_family(ctr_model, store, backend, family):
    model = ctr_model(family, layers=3, backend=backend)
    serving = gradients(model, store, 1)
    for k in (5, 50, "all"):
        stream = gradients(model, store, k)
        assert stream.keys() == serving.keys()
        for name, gradient in stream.items():
            scale = float(serving[name].abs().max())
            torch.testing.assert_close(gradient, serving[name], atol=1e-4 * scale, rtol=0, msg=name)


@pytest.mark.parametrize("position", POSITIONS)
def test_window_streams_equal_serving_prompts_with_one_layer(ctr_model, store, position):
    model = ctr_model(layers=1, policy="window", context="all", probe_position=position)
    np.testing.assert_allclose(logits(model, store, "all"), logits(model, store, 1), atol=1e-5)


def test_window_leaks_with_more_layers(ctr_model, store):
    model = ctr_model(layers=3, policy="window", context="all")
    gap = np.abs(logits(model, store, "all") - logits(model, store, 1))
    first_of_user = [0, 1]
    assert gap[first_of_user].max() < 1e-5
    assert gap.max() > 1e-3


def test_passes_of_any_size_give_the_same_logits(ctr_model, store):
    model = ctr_model(policy="window", context="all")
    np.testing.assert_allclose(logits(model, store, 5, tokens=64), logits(model, store, 5), atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "blocks"])
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("policy", ["window", "isolated"])
def test_a_targets_own_label_never_reaches_its_probe(ctr_model, store, policy, context, backend):
    model = ctr_model(policy=policy, context=context, backend=backend)
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


@pytest.mark.parametrize("policy", ["window", "isolated"])
def test_blocks_equal_the_reference_through_the_model_gradients_too(ctr_model, store, policy):
    row = build_row(store, recut(store, stream_prompts(store, "train", "all"), 5))
    results = []
    for backend in ("reference", "blocks"):
        model = ctr_model(policy=policy, backend=backend, context="all")
        out = model(row)
        (out * torch.linspace(-1, 1, out.numel())).sum().backward()
        results.append((out, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (expected, expected_gradients), (found, gradients) = results
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-4, msg=name)


def test_probes_are_read_by_nobody(ctr_model, store):
    model = ctr_model(policy="window", context="all")
    every = build_row(store, stream_prompts(store, "train", "all"))
    half = replace(every, target_K=every.target_K[::2], answer_K=every.answer_K[::2])
    with torch.no_grad():
        torch.testing.assert_close(model(half), model(every)[::2], atol=1e-5, rtol=1e-5)


def reset(family="step", strength=1.0, at="both"):
    return {"policy": "window", "context": "all", "forgetting": Forgetting(family, strength, at)}


def test_alpha_zero_is_the_plain_stream(ctr_model, store):
    plain = logits(ctr_model(layers=3, policy="window", context="all"), store, "all")
    for family in ("linear", "exponential", "step"):
        found = logits(ctr_model(layers=3, **reset(family, 0.0)), store, "all")
        np.testing.assert_allclose(found, plain, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_initial_values_are_those_of_a_state_that_no_layer_changed(ctr_model, store, family, layers):
    """Where all layers but the last add nothing, the last one's states are the initial ones, and no reset is seen.

    Its norm, where the family has one, must be its own, and the embeddings must be those that enter the first layer.
    """
    found = []
    for sight in ({"policy": "window", "context": "all"}, reset()):
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

    What it does not cut: queries and keys are still made of states, so older interactions still move the weights.
    """
    gaps = {}
    for name, sight in {"none": {"policy": "window", "context": "all"}, "reset": reset()}.items():
        model = ctr_model(family, layers=3, **sight)
        gaps[name] = np.abs(logits(model, store, "all") - logits(model, store, 1)).max()
        with torch.no_grad():
            for layer in model.stock.get_decoder().layers:
                layer.self_attn.q_proj.weight.zero_()
        gaps[f"{name}, constant weights"] = np.abs(logits(model, store, "all") - logits(model, store, 1)).max()
    assert gaps["reset, constant weights"] < 1e-5 < 1e-3 < gaps["none, constant weights"]
    assert 1e-5 < gaps["reset"] < gaps["none"]


@pytest.mark.parametrize("at", ["probes", "content", "both"])
def test_forgetting_blocks_equal_the_reference_through_the_model(ctr_model, store, at):
    row = build_row(store, stream_prompts(store, "train", "all"))
    outs = []
    for backend in ("reference", "blocks"):
        model = ctr_model(backend=backend, layers=3, **reset("linear", 0.7, at)).double()
        out = model(row)
        (out * torch.linspace(-1, 1, out.numel())).sum().backward()
        outs.append([out, *(p.grad for p in model.parameters() if p.grad is not None)])
    torch.testing.assert_close(outs[1], outs[0], atol=1e-5, rtol=1e-4)


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
        model = ctr_model(layers=layers, policy="window", context="all", n=n)
        gradient = embedding_gradient(model, row)
        moved = gradient[0, : row.tokens_S.size].abs().amax(-1) > 0
        oldest = int(np.searchsorted(row.start_M, int(moved.nonzero()[0]), side="right")) - 1
        assert len(history) - 1 - oldest == n * layers


@pytest.mark.parametrize(
    "sight", [{}, {"policy": "window", "context": "all", "forgetting": Forgetting("step", 0.5, "both")}]
)
def test_activation_checkpointing_changes_no_gradient(ctr_model, store, sight):
    row = build_row(store, stream_prompts(store, "train", "all"))
    results = []
    for checkpointed in (False, True):
        model = ctr_model(layers=3, **sight).train()
        if checkpointed:
            model.checkpoint_activations()
        out = model(row)
        (out * torch.linspace(-1, 1, out.numel())).sum().backward()
        results.append([out, *(p.grad for p in model.parameters() if p.grad is not None)])
    torch.testing.assert_close(results[1], results[0], atol=0, rtol=0)
