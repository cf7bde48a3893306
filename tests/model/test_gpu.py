"""The same logits and gradients on a GPU."""

from dataclasses import replace

import pytest
import torch

from dti.attention.forgetting import Forgetting
from dti.model.device import device_of
from dti.prompts.build import build_row
from dti.prompts.packing import recut, stream_prompts
from dti.prompts.unique import build_unique

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
READINGS = {
    "window": {"policy": "window", "context": "all"},
    "forgetting": {"policy": "window", "context": "all", "forgetting": Forgetting("linear", 1.0, "both")},
    "isolated": {"policy": "isolated", "context": "all"},
    "unique": {"policy": "isolated"},
    "frozen": {"policy": "isolated", "content": "frozen"},
}


class Given:
    """States of a row's content, as ``content: frozen`` reads them."""

    def __init__(self, layers):
        self.layers = layers

    def whole(self, dtype):
        return None

    def of(self, places):
        return self

    def layer(self, number):
        return self.layers[number]


def prepared(ctr_model, store, reading, backend, device):
    """A model on a device, and a row that it reads."""
    sight = READINGS[reading]
    model = ctr_model(backend=backend, **sight).to(device)
    prompts = stream_prompts(store, "train", "all")
    if reading not in ("unique", "frozen"):
        return model, build_row(store, prompts)
    row = build_unique(store, recut(store, prompts, 5))
    if reading == "frozen":
        content = replace(row, target_K=row.target_K[:0], answer_K=row.answer_K[:0])
        with torch.no_grad():
            model.states = Given(model.content_states(content))
    return model, row


@pytest.mark.parametrize("backend", ["blocks", "flex"])
@pytest.mark.parametrize("reading", READINGS)
def test_a_gpu_gives_the_same_logits_and_gradients(ctr_model, store, reading, backend):
    results = []
    for device, chosen in ((torch.device("cpu"), "reference"), (device_of("cuda"), backend)):
        model, row = prepared(ctr_model, store, reading, chosen, device)
        out = model(row)
        (out * torch.linspace(-1, 1, out.numel(), device=device)).sum().backward()
        results.append((out.cpu(), [p.grad.cpu() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("backend", ["blocks", "flex"])
@pytest.mark.parametrize("reading", READINGS)
def test_bf16_is_near_fp32(ctr_model, store, reading, backend):
    model, row = prepared(ctr_model, store, reading, backend, device_of("cuda"))
    results = []
    for bf16 in (False, True):
        model.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            out = model(row)
        out.square().sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((out.detach(), gradient))
    for expected, found in zip(*results, strict=True):
        assert torch.isfinite(found).all()
        assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99


def test_activations_computed_again_give_the_same_gradients(ctr_model, store):
    results = []
    for again in (False, True):
        model, row = prepared(ctr_model, store, "window", "flex", device_of("cuda"))
        model.checkpointed_above = 0 if again else None
        model.train()
        model(row).sum().backward()
        results.append([p.grad for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-4)


def test_compiled_layers_give_the_same_logits_and_gradients(ctr_model, store):
    results = []
    for compiled in (False, True):
        model, row = prepared(ctr_model, store, "isolated", "blocks", device_of("cuda"))
        if compiled:
            model.compile_layers()
        logits = model(row)
        logits.sum().backward()
        results.append([logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-3)
