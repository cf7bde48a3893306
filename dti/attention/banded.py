"""Content in blocks of consecutive queries; each reads its own and the few earlier blocks that its intervals reach.

Blocks that reach equally far back are attended in one SDPA call; forgetting is one softmax over twice the keys.

Shape suffixes: S content tokens; G blocks of C queries, B blocks that each of them reads, W = B C keys, D size of a
head. Key/value heads are repeated for the H query heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dti.attention.sending import sent
from dti.attention.visibility import View


def _block_size(reach: int) -> int:
    """Queries per block: small where reading is short, 256 where it is very long (docs/log.md)."""
    return 256 if reach > 384 else 64 if reach > 32 else 32


@dataclass(frozen=True)
class Reach:
    """Blocks that read equally far back.

    Attributes:
        block_G: which blocks.
        read_GB: the blocks that each reads, its own the last.
        mask_G1CW: what they may read: bool, or the biases of both banks where content forgets.
    """

    block_G: Tensor
    read_GB: Tensor
    mask_G1CW: Tensor


class Banded:
    """The plan of a row's content.

    Attributes:
        size: C.
        reaches: the blocks, by how far back they read.
    """

    def __init__(self, view: View, device: torch.device) -> None:
        self.view, self.device = view, device
        self.size = _block_size(int((torch.arange(view.content) - view.start_S).amax()))
        # Rows past the end read themselves, so that no softmax is empty.
        padding = (0, -view.content % self.size)
        self.start_GC, self.stop_GC = (
            F.pad(x, padding, value=view.content).view(-1, self.size) for x in (view.start_S, view.stop_S)
        )
        block_G = torch.arange(self.start_GC.shape[0])
        back_G = (block_G - self.start_GC.amin(1) // self.size).clamp(min=0)
        self.reaches = [self._reach(block_G[back_G == back], back) for back in back_G.unique().tolist()]
        self._sorted_G = torch.cat([reach.block_G for reach in self.reaches]).argsort()

    def attend(self, q_HSD: Tensor, k_HSD: Tensor, banks: Sequence[Tensor], scale: float) -> Tensor:
        """Attend, (H, S, D).

        Args:
            banks: the values, and behind them the initial ones where content forgets, each (H, S, D).
        """
        q, k, *values = (self._rows(x) for x in (q_HSD, k_HSD, *banks))
        width = q_HSD.shape[::2]
        out = torch.cat([self._attend(reach, q, k, values, width, scale) for reach in self.reaches])
        out = out if len(self.reaches) == 1 else out.index_select(0, self._sorted_G)
        return out.view(-1, *width)[: q_HSD.shape[1]].transpose(0, 1)

    def _attend(
        self, reach: Reach, q: Tensor, k: Tensor, values: Sequence[Tensor], width: Sequence[int], scale: float
    ) -> Tensor:
        """The rows of one reach's blocks, (G, C H D); ``width`` is H and D."""

        def read(x: Tensor, read_GB: Tensor) -> Tensor:
            return x.index_select(0, read_GB.flatten()).view(read_GB.shape[0], -1, *width).transpose(1, 2)

        keys, value = (_joined([read(x, reach.read_GB) for x in banks]) for banks in ([k] * len(values), values))
        mask = reach.mask_G1CW if reach.mask_G1CW.dtype == torch.bool else reach.mask_G1CW.to(q.dtype)
        out = F.scaled_dot_product_attention(read(q, reach.block_G[:, None]), keys, value, mask, scale=scale)
        return out.transpose(1, 2).flatten(1)

    def _rows(self, x_HSD: Tensor) -> Tensor:
        """A row for each block, the last one padded, (G, C H D): gathering rows has a backward pass that is a sum."""
        x_SW = F.pad(x_HSD.transpose(0, 1).flatten(1), (0, 0, 0, -x_HSD.shape[1] % self.size))
        return x_SW.view(-1, self.size * x_SW.shape[1])

    def _reach(self, block_G: Tensor, back: int) -> Reach:
        """Plan the given blocks, which read ``back`` blocks before their own."""
        place_C = torch.arange(self.size)
        read_GB = block_G[:, None] + torch.arange(-back, 1)
        query_GC1 = (block_G[:, None] * self.size + place_C)[..., None]
        key_G1W = (read_GB[..., None] * self.size + place_C).flatten(1)[:, None]
        start_GC1, stop_GC1 = self.start_GC[block_G, :, None], self.stop_GC[block_G, :, None]
        mask_GCW = (start_GC1 <= key_G1W) & (key_G1W < stop_GC1) | (key_G1W == query_GC1)
        if self.view.content_alpha is not None:
            query, key = (self.view.order_S[x.clamp(max=self.view.content - 1)] for x in (query_GC1, key_G1W))
            mask_GCW = _two_banks(torch.zeros(mask_GCW.shape), mask_GCW, query - key, self.view.content_alpha)
        return Reach(*(sent(x, self.device) for x in (block_G, read_GB, mask_GCW.unsqueeze(1))))


def _joined(banks: Sequence[Tensor]) -> Tensor:
    """Keys or values of all banks side by side, (G, H, banks W, D); one alone is not copied."""
    return banks[0] if len(banks) == 1 else torch.cat(list(banks), dim=2)


def _two_banks(bias: Tensor, mask: Tensor, distance: Tensor, alpha: Tensor) -> Tensor:
    """The biases of both banks side by side: log(1 - alpha) for the values, log(alpha) for the initial ones.

    Args:
        bias: (..., W), to which the logarithms are added.
        mask: what may be read, broadcastable to ``bias``.
        distance: in interactions, broadcastable to ``bias``; clamped to alpha's range, as the mask hides the rest.
        alpha: by distance.

    Returns:
        (..., 2 W), -inf where nothing may be read.
    """
    forgotten = alpha.float()[distance.clamp(0, alpha.numel() - 1)]
    banks = torch.cat([bias + torch.log1p(-forgotten), bias + forgotten.log()], dim=-1)
    return banks.masked_fill(~torch.cat([mask, mask], dim=-1), -torch.inf)
