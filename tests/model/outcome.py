"""What a model makes of rows, and whether two such outcomes are the same."""

import torch

BACKENDS = ["reference", "blocks", "flex"]
POSITIONS = ["rope", "alibi", "local"]


def stirred(adapted):
    """A model with a LoRA adapter that does something; a new one adds nothing."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return adapted


def outcome(model, *rows):
    """The logits of all rows, and the gradients, by parameter, of a weighted sum of them."""
    model.zero_grad(set_to_none=True)
    out = torch.cat([model(row) for row in rows])
    (out * torch.linspace(-1, 2, out.numel())).sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check_same(found, expected, gradients=1e-4):
    """Logits agree within 1e-5, gradients within ``gradients`` of the largest in the same parameter.

    What vanishes but for rounding, as a key's bias does without rotation, is measured by the largest gradient of all.
    """
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=0)
    assert found[1].keys() == expected[1].keys()
    scales = {name: float(gradient.abs().max()) for name, gradient in expected[1].items()}
    largest = max(scales.values())
    for name, scale in scales.items():
        close = gradients * (scale if scale > 1e-6 * largest else largest)
        torch.testing.assert_close(found[1][name], expected[1][name], atol=close, rtol=0, msg=name)
