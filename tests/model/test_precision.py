"""LoRA under bf16: the base's matrices are held as the passes use them, and not a number changes."""

import pytest
import torch
from peft.tuners.lora import LoraLayer

from dti.attention.families import FAMILIES
from dti.attention.visibility import Sight
from dti.model.backbone import halve_frozen
from dti.model.ctr import CtrModel
from dti.model.device import arithmetic
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts
from dti.prompts.unique import build_unique
from dti.training.probe import kept_bytes
from tests.model.outcome import outcome

CPU = torch.device("cpu")
SIGHTS = {
    "window": Sight("window", "alibi", "all", 3),
    "isolated": Sight("isolated", "local", "label", 3),
}


def bytes_of(model, trained):
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad == trained)


@pytest.mark.parametrize("policy", SIGHTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_in_bf16_gives_the_numbers_of_autocast(adapted, store, family, policy):
    results = []
    for halved in (False, True):
        backbone = adapted(store, family)
        if halved:
            halve_frozen(backbone)
        build = build_unique if policy == "isolated" else build_row
        model = CtrModel(backbone, store.meta.tokens, SIGHTS[policy], "blocks").train()
        with arithmetic(CPU, "bf16"):
            results.append(outcome(model, build(store, stream_prompts(store, "train", "all"))))
    (logits, gradients), (found, halved_gradients) = results
    assert torch.equal(found, logits)
    assert logits.dtype == torch.float32
    assert gradients.keys() == halved_gradients.keys()
    assert all(torch.equal(gradients[name], halved_gradients[name]) for name in gradients)


def test_what_enters_matrix_products_is_rounded_once(adapted, store):
    """Neither norms nor LoRA give a product anything that autocast would round anew."""
    backbone = adapted(store)
    halve_frozen(backbone)
    model, wide = CtrModel(backbone, store.meta.tokens, SIGHTS["isolated"], "blocks").train(), []

    def note(layer, inputs):
        if inputs[0].dtype != torch.bfloat16:
            wide.append(layer)

    layers = [m for m in model.modules() if isinstance(m, LoraLayer) and m.get_base_layer().weight.ndim == 2]
    for layer in layers:
        for part in (layer, layer.lora_A["default"]):
            part.register_forward_pre_hook(note)
    with arithmetic(CPU, "bf16"):
        model(build_row(store, stream_prompts(store, "train", "all")))
    assert layers
    assert wide == []


def test_what_is_trained_stays_float32_and_what_is_kept_shrinks(adapted, store):
    row = build_row(store, stream_prompts(store, "train", "all"))
    plain, halved = (CtrModel(adapted(store), store.meta.tokens, SIGHTS["isolated"], "blocks") for _ in range(2))
    halve_frozen(halved.backbone)
    layers = [m.get_base_layer() for m in halved.modules() if isinstance(m, LoraLayer)]
    assert {layer.weight.dtype for layer in layers} == {torch.bfloat16}
    trained = [p.dtype for p in halved.parameters() if p.requires_grad]
    assert set(trained) == {torch.float32}
    matrices = sum(layer.weight.numel() for layer in layers)
    assert bytes_of(plain, trained=False) - bytes_of(halved, trained=False) == 2 * matrices
    # The backward pass no longer keeps autocast's copies: one of each matrix, more of one that is used twice.
    assert kept_bytes(plain, row, "bf16") - kept_bytes(halved, row, "bf16") >= 2 * matrices
