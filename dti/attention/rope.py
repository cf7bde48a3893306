"""Rotary positions, computed in float64: float32 tables are off by 6e-4 in the score at position 8,000."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dti.attention.sending import sent

Turn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``turn``, or what a compiler made of it."""


def turn(x_HTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Rotate queries or keys, halves paired as Hugging Face's Llama does."""
    first, second = x_HTD.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return x_HTD * cos_TD + turned * sin_TD


@dataclass(frozen=True)
class Table:
    """Cosines and sines of a list of positions, each (T, D), and the function that turns by them."""

    cos: Tensor
    sin: Tensor
    turn: Turn = turn

    def rotate(self, x_HTD: Tensor) -> Tensor:
        """Rotate queries or keys, (H, T, D)."""
        return self.turn(x_HTD, self.cos, self.sin)

    def part(self, places: slice) -> "Table":
        """The table of some of its positions."""
        return Table(self.cos[places], self.sin[places], self.turn)


UNTURNED = Table(torch.ones(()), torch.zeros(()))
"""For layers without positions: any queries and keys stay as they are."""


class Rope:
    """A backbone's rotary frequencies, taken from its own rotary module.

    Args:
        inverse_frequency: (D / 2,) radians per position.
        factor: what the backbone multiplies cosines and sines by (1 for plain RoPE).

    Attributes:
        turn: what the tables turn by; a compiled one reads and writes once.
    """

    def __init__(self, inverse_frequency: Tensor, factor: float) -> None:
        self.inverse_frequency = inverse_frequency.double().cpu()
        self.factor = factor
        self.turn: Turn = turn

    def table(self, positions: Tensor, like: Tensor) -> Table:
        """The table of integer ``positions`` (T,), in the dtype and on the device of ``like``."""
        low, high = int(positions.min()), int(positions.max())
        frequency = sent(self.inverse_frequency, like.device)
        angles = torch.arange(low, high + 1, dtype=torch.float64, device=like.device)[:, None] * frequency
        halves = ((f(angles) * self.factor).to(like.dtype) for f in (torch.cos, torch.sin))
        pick = sent(positions - low, like.device)
        cos, sin = (torch.cat([half, half], dim=-1)[pick] for half in halves)
        return Table(cos, sin, self.turn)


class NeutralRotary(nn.Module):
    """Stands in for a backbone's rotary module and turns nothing, so that attention receives plain queries and keys."""

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine 1 and sine 0, each (1, 1, D), for any positions."""
        one = x.new_ones(1, 1, self.width)
        return one, torch.zeros_like(one)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
