"""The learning rate over a run, and which weights decay."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from dti.params import Train


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at ``step`` (0-based) of ``steps``: a linear rise, then half a cosine to 0.

    Args:
        warmup: share of all steps in which the rate rises.
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def optimiser_of(parameters: Iterable[nn.Parameter], params: Train) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases) and the rest in two groups, the first without weight decay."""
    trained = list(parameters)
    groups = [
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": params.weight_decay},
    ]
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=(0.9, 0.98), fused=True)
