"""What saves memory and time in training: activations computed again, and half precision."""

import pytest
import torch

from dti.attention.families import FAMILIES
from dti.attention.forgetting import Forgetting
from dti.model.ctr import CtrModel
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts
from dti.prompts.unique import build_unique
from tests.model.outcome import BACKENDS, outcome

RESET = {"policy": "window", "context": "all", "forgetting": Forgetting("step", 0.5, "both")}


@pytest.mark.parametrize(
    ("family", "tuning", "sight"),
    [(family, tuning, {}) for family in FAMILIES for tuning in ("full", "lora")] + [("llama", "full", RESET)],
)
def test_activation_checkpointing_computes_each_layer_twice_and_changes_no_gradient(
    ctr_model, adapted, store, family, tuning, sight
):
    row = build_row(store, stream_prompts(store, "train", "all"))
    results = []
    for again in (False, True):
        model = ctr_model(family, layers=3, tokens=store.meta.tokens, **sight)
        if tuning == "lora":
            model = CtrModel(adapted(store, family), model.tokens, model.sight, model.backend)
        model.train()
        model.checkpointed_above = 0 if again else None
        calls = []
        for layer in model.stock.get_decoder().layers:
            layer.mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        results.append(outcome(model, row))
        assert len(calls) == (6 if again else 3)
    torch.testing.assert_close(results[1], results[0], atol=0, rtol=0)


def test_checkpointing_by_size_goes_to_and_fro_and_leaves_nothing_behind(ctr_model, adapted, store):
    model = ctr_model("llama", layers=3, tokens=store.meta.tokens)
    model = CtrModel(adapted(store, "llama"), model.tokens, model.sight, model.backend).train()
    small, large = (build_row(store, stream_prompts(store, "train", "all").take(slice(count))) for count in (1, 3))
    model.checkpointed_above = model.tokens_of(small)
    calls, hooks = [], model.stock.get_decoder().get_input_embeddings()._forward_hooks
    model.stock.get_decoder().layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    for row, times in ((small, 1), (large, 2), (small, 1), (large, 2)):
        calls.clear()
        model(row).sum().backward()
        assert (len(calls), len(hooks)) == (times, 0)
    calls.clear()
    model.eval()(large).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("build", [build_row, build_unique])
def test_bf16_is_near_fp32(ctr_model, store_for, build, backend):
    store = store_for(backend)
    model, row = ctr_model(layers=3, backend=backend), build(store, stream_prompts(store, "train", "all"))
    expected, whole = outcome(model, row)
    with torch.autocast("cpu", torch.bfloat16):
        found, half = outcome(model, row)
    assert (found - expected).abs().max() > 0
    flat = [torch.cat([gradient.flatten() for gradient in gradients.values()]) for gradients in (half, whole)]
    for pair in ([found, expected], flat):
        assert torch.corrcoef(torch.stack(pair))[0, 1] > 0.999
