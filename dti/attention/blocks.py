"""Block-sparse attention on any device: no T x T anywhere, cost linear in the row.

Content is cut into blocks of C queries; each block reads its own and the few earlier blocks that its intervals reach,
in one SDPA call. Probes are cut into blocks of their own (``probes.py``).

Shape suffixes: C as above; G blocks of content, W keys of one block. In ``Bank``, G are key/value heads.
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from dti.attention.probes import ProbePlan
from dti.attention.visibility import Bank, View


def _block_size(reach: int) -> int:
    """Queries per block: small where reading is short, 256 where it is very long (docs/log.md)."""
    return 256 if reach > 384 else 64 if reach > 32 else 32


class Blocks:
    """The same attention as ``Reference``, in blocks; forgetting as one softmax over twice the keys."""

    gathers = True

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.view, self.heads, self.device = view, heads, device
        reach = int((torch.arange(view.content) - view.start_S).amax()) if view.content else 0
        self.size = _block_size(reach)
        self.back = -(-reach // self.size)

    def content(self, q_HSD: Tensor, content: Bank, scale: float) -> Tensor:
        """Attend from content to content; arguments and result as in ``Reference``."""
        forgets = content.v0 is not None and self.view.content_alpha is not None
        wanted = [content.v, content.v0] if forgets else [content.v]
        k, *banks = (_each_head(x, self.heads) for x in (content.k, *wanted) if x is not None)
        return self._content(q_HSD, k, banks, scale)

    def probes(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None = None) -> Tensor:
        """Attend from probes to content and themselves; arguments and result as in ``Reference``."""
        return self._plan.attend(q_HKD, content, own, scale, slopes_H)

    @cached_property
    def mask_G1CW(self) -> Tensor:
        """What content may read: bool, or the biases of both banks where content forgets."""
        view, size = self.view, self.size
        blocks = -(-view.content // size)
        place = torch.arange(blocks * size)
        # Rows past the end read themselves, so that no softmax is empty.
        start_GC, stop_GC = (
            torch.cat([x, place[view.content :]]).view(blocks, size, 1) for x in (view.start_S, view.stop_S)
        )
        query_GC = place.view(blocks, size, 1)
        first = (torch.arange(blocks) - self.back) * size
        key_GW = first.view(-1, 1, 1) + torch.arange((self.back + 1) * size)
        mask_GCW = (start_GC <= key_GW) & (key_GW < stop_GC) | (key_GW == query_GC)
        if view.content_alpha is None:
            return mask_GCW.unsqueeze(1).to(self.device)
        query, key = (view.order_S[x.clamp(0, view.content - 1)] for x in (query_GC, key_GW))
        banks = _two_banks(torch.zeros(mask_GCW.shape), mask_GCW, query - key, view.content_alpha)
        return banks.unsqueeze(1).to(self.device)

    @cached_property
    def _plan(self) -> ProbePlan:
        return ProbePlan(self.view, self.heads, self.device)

    def _content(self, q_HSD: Tensor, k_HSD: Tensor, banks: list[Tensor], scale: float) -> Tensor:
        length = q_HSD.shape[1]
        padding = -length % self.size
        q = F.pad(q_HSD, (0, 0, 0, padding)).unflatten(1, (-1, self.size)).transpose(0, 1)
        k = torch.cat([self._banded(k_HSD, padding)] * len(banks), dim=2)
        v = torch.cat([self._banded(x, padding) for x in banks], dim=2)
        mask = self.mask_G1CW if self.mask_G1CW.dtype == torch.bool else self.mask_G1CW.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        return out.transpose(0, 1).flatten(1, 2)[:, :length]

    def _banded(self, x_HSD: Tensor, padding: int) -> Tensor:
        """Each block's own and earlier ``back`` blocks of keys, (G, H, W, D)."""
        padded = F.pad(x_HSD, (0, 0, self.back * self.size, padding))
        own = padded.shape[1] - self.back * self.size
        shifts = [padded[:, i * self.size : i * self.size + own] for i in range(self.back + 1)]
        return torch.cat([x.unflatten(1, (-1, self.size)) for x in shifts], dim=2).transpose(0, 1)


def _each_head(x_GND: Tensor, heads: int) -> Tensor:
    """Repeat key/value heads for the query heads that share them."""
    group = heads // x_GND.shape[0]
    return x_GND if group == 1 else x_GND.repeat_interleave(group, dim=0)


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
