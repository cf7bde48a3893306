"""The block path equals the reference, gradients too."""

import pytest
import torch

from dti.attention.blocks import Blocks
from dti.attention.reference import Reference, slopes_of
from dti.attention.visibility import Sight, view_of

HEADS, WIDTH = 2, 8
SHAPES = [
    {"prompts": 1, "n": 1, "targets": 1, "longest": 1},
    {"prompts": 30, "n": 3, "targets": 1, "longest": 6},
    {"prompts": 3, "n": 4, "targets": 40, "longest": 5},
    {"prompts": 2, "n": 3, "targets": 6, "longest": 70},
    {"prompts": 2, "n": 20, "targets": 30, "longest": 12},
]


def attend(backend, view):
    generator = torch.Generator().manual_seed(5)
    total = view.content + view.probes
    inputs = [torch.randn(HEADS, size, WIDTH, generator=generator) for size in (total, view.content, total, total)]
    inputs = [x.double().requires_grad_() for x in inputs]
    out = backend(view, HEADS, torch.device("cpu"))(*inputs, 0.3)
    weight = torch.randn(out.shape, generator=generator).double()
    return out, torch.autograd.grad((out * weight).sum(), inputs)


@pytest.mark.parametrize("profile", [False, True])
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", ["rope", "alibi", "local"])
@pytest.mark.parametrize("policy", ["window", "isolated"])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_blocks_equal_the_reference(random_row, shape, policy, position, context, profile):
    row = random_row(shape, **SHAPES[shape], profile=profile)
    view = view_of(row, Sight(policy, position, context, SHAPES[shape]["n"]))
    expected, expected_gradients = attend(Reference, view)
    found, gradients = attend(Blocks, view)
    # In float64, all but the bias table (float32) is exact to rounding.
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-6)


def test_slopes_fall_from_head_to_head():
    assert slopes_of(8).tolist() == [2.0**-h for h in range(1, 9)]
