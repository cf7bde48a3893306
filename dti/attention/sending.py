"""A plan's tensors on their way to the device."""

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on the device; does not wait for what a GPU still computes, so that the next pass is planned meanwhile."""
    return x.to(device, non_blocking=True)
