"""Rotary positions, computed in float64: float32 tables are off by 6e-4 in the score at position 8,000."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Table:
    """Cosines and sines of a list of positions, each (T, D)."""

    cos: Tensor
    sin: Tensor

    def rotate(self, x_HTD: Tensor) -> Tensor:
        """Rotate queries or keys, halves paired as Hugging Face's Llama does."""
        first, second = x_HTD.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return x_HTD * self.cos + turned * self.sin

    def part(self, places: slice) -> "Table":
        """The table of some of its positions."""
        return Table(self.cos[places], self.sin[places])


UNTURNED = Table(torch.ones(()), torch.zeros(()))
"""For layers without positions: any queries and keys stay as they are."""


class Rope:
    """A backbone's rotary frequencies, taken from its own rotary module.

    Args:
        inverse_frequency: (D / 2,) radians per position.
        factor: what the backbone multiplies cosines and sines by (1 for plain RoPE).
    """

    def __init__(self, inverse_frequency: Tensor, factor: float) -> None:
        self.inverse_frequency = inverse_frequency.double().cpu()
        self.factor = factor

    def table(self, positions: Tensor, like: Tensor) -> Table:
        """The table of integer ``positions`` (T,), in the dtype and on the device of ``like``."""
        low, high = int(positions.min()), int(positions.max())
        angles = torch.arange(low, high + 1, dtype=torch.float64)[:, None] * self.inverse_frequency
        angles = torch.cat([angles, angles], dim=-1)
        pick = (positions - low).to(like.device)
        cos, sin = ((f(angles) * self.factor).to(like.device, like.dtype)[pick] for f in (torch.cos, torch.sin))
        return Table(cos, sin)


class NeutralRotary(nn.Module):
    """Stands in for a backbone's rotary module and turns nothing, so that attention receives plain queries and keys."""

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine 1 and sine 0, each (1, 1, D), for any positions."""
        one = x.new_ones(1, 1, self.width)
        return one, torch.zeros_like(one)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
