"""The same logits and gradients on a GPU."""

import pytest
import torch

from dti.model.device import device_of
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("policy", ["window", "isolated"])
def test_a_gpu_gives_the_same_logits_and_gradients(ctr_model, store, policy):
    row = build_row(store, stream_prompts(store, "train", "all"))
    results = []
    for device in (torch.device("cpu"), device_of("cuda")):
        model = ctr_model(policy=policy, context="all").to(device)
        out = model(row)
        (out * torch.linspace(-1, 1, out.numel(), device=device)).sum().backward()
        results.append((out.cpu(), [p.grad.cpu() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-3)


def test_bf16_is_near_fp32(ctr_model, store):
    row = build_row(store, stream_prompts(store, "train", "all"))
    model = ctr_model(policy="window", context="all").to(device_of("cuda"))
    with torch.no_grad():
        expected = model(row)
        with torch.autocast("cuda", torch.bfloat16):
            found = model(row)
    assert torch.isfinite(found).all()
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99
