"""Block-sparse attention on any device: no T x T anywhere, cost linear in the row.

Content is cut into blocks of C queries; each block reads its own and the few earlier blocks that its intervals reach.
Probes are cut into blocks of B; each block gathers the keys that any of its probes may read. Both are one SDPA call.

Shape suffixes: C, B as above; G blocks of content, J blocks of probes, W keys of one block.
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from dti.attention.reference import slopes_of
from dti.attention.visibility import Segment, View

PROBES_PER_BLOCK = 16


def _block_size(reach: int) -> int:
    """Queries per block: small where reading is short, 256 for whole windows (docs/log.md)."""
    return 256 if reach > 128 else 64 if reach > 32 else 32


class Blocks:
    """The same attention as ``Reference``, in blocks; forgetting as one softmax over twice the keys."""

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.view, self.heads, self.device = view, heads, device
        reach = int((torch.arange(view.content) - view.start_S).amax()) if view.content else 0
        self.size = _block_size(reach)
        self.back = -(-reach // self.size)

    def content(self, q_HSD: Tensor, k_HSD: Tensor, v_HSD: Tensor, v0_HSD: Tensor | None, scale: float) -> Tensor:
        """Attend from content to content; arguments and result as in ``Reference``."""
        return self._content(q_HSD, k_HSD, _banks(v_HSD, v0_HSD, self.view.content_alpha), scale)

    def probes(self, q_HKD: Tensor, k_HTD: Tensor, v_HTD: Tensor, v0_HTD: Tensor | None, scale: float) -> Tensor:
        """Attend from probes to what they read; arguments and result as in ``Reference``."""
        return self._probes(q_HKD, k_HTD, _banks(v_HTD, v0_HTD, self.view.probe_alpha), scale)

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
    def _plan(self) -> tuple[Tensor, Tensor]:
        keys_JW, bias_JHBW = _probe_plan(self.view, self.heads)
        return keys_JW.to(self.device), bias_JHBW.to(self.device)

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

    def _probes(self, q_HKD: Tensor, k_HTD: Tensor, banks: list[Tensor], scale: float) -> Tensor:
        keys_JW, bias_JHBW = self._plan
        probes, blocks = q_HKD.shape[1], keys_JW.shape[0]
        q = F.pad(q_HKD, (0, 0, 0, blocks * PROBES_PER_BLOCK - probes))
        q_JHBD = q.unflatten(1, (blocks, PROBES_PER_BLOCK)).transpose(0, 1)
        k_JHWD = torch.cat([_gather(k_HTD, keys_JW)] * len(banks), dim=2)
        v_JHWD = torch.cat([_gather(v, keys_JW) for v in banks], dim=2)
        out = F.scaled_dot_product_attention(q_JHBD, k_JHWD, v_JHWD, bias_JHBW.to(q.dtype), scale=scale)
        return out.transpose(0, 1).flatten(1, 2)[:, :probes]


def _banks(v: Tensor, v0: Tensor | None, alpha: Tensor | None) -> list[Tensor]:
    """The values, and behind them the initial ones where this reading forgets."""
    return [v] if v0 is None or alpha is None else [v, v0]


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


def _gather(x_HTD: Tensor, places_JW: Tensor) -> Tensor:
    """Each block's rows of every head, (J, H, W, D).

    They come from one contiguous (T, H D) table, so that the backward pass is a plain sum of rows.
    """
    rows = x_HTD.transpose(0, 1).flatten(1).index_select(0, places_JW.flatten())
    return rows.unflatten(1, (x_HTD.shape[0], -1)).unflatten(0, places_JW.shape).transpose(1, 2)


def _probe_plan(view: View, heads: int) -> tuple[Tensor, Tensor]:
    """The keys of each block of probes, (J, W), and the bias of each pair, -inf where it may not be read, (J, H, B, W).

    Where probes forget, the biases of both banks stand side by side, (J, H, B, 2 W).

    Padding probes of the last block repeat the last one; their results are dropped.
    """
    blocks = -(-view.probes // PROBES_PER_BLOCK)
    place_JB = torch.arange(blocks * PROBES_PER_BLOCK).clamp(max=view.probes - 1).view(blocks, PROBES_PER_BLOCK)
    parts = [_segment_plan(segment, place_JB) for segment in view.segments]
    own_JBB = (place_JB[:, :, None] == place_JB[:, None, :]) & _first_of_each(place_JB)[:, None, :]
    target_JB = view.target_K[place_JB]
    keys_JW = torch.cat([*(keys for keys, _, _ in parts), view.content + place_JB], dim=1)
    order_JW = torch.cat([*(order for _, order, _ in parts), target_JB], dim=1)
    mask_JBW = torch.cat([*(mask for _, _, mask in parts), own_JBB], dim=2)
    bias_JHBW = torch.zeros(blocks, heads, PROBES_PER_BLOCK, keys_JW.shape[1])
    distance_JBW = target_JB[:, :, None] - order_JW[:, None, :]
    if view.biased:
        bias_JHBW -= slopes_of(heads).float()[:, None, None] * distance_JBW.clamp(min=0)[:, None]
    if view.probe_alpha is not None:
        return keys_JW, _two_banks(bias_JHBW, mask_JBW[:, None], distance_JBW[:, None], view.probe_alpha)
    return keys_JW, bias_JHBW.masked_fill_(~mask_JBW[:, None], -torch.inf)


def _first_of_each(place_JB: Tensor) -> Tensor:
    """False where a place repeats the one before it: a padding probe must not be read twice."""
    first = torch.ones_like(place_JB, dtype=torch.bool)
    first[:, 1:] = place_JB[:, 1:] != place_JB[:, :-1]
    return first


def _segment_plan(segment: Segment, place_JB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One segment's keys of each block and their orders, both (J, W), and which probe may read which, (J, B, W)."""
    low_JB, high_JB = segment.low_K[place_JB], segment.high_K[place_JB]
    empty_JB = high_JB <= low_JB
    first_J = low_JB.masked_fill(empty_JB, segment.keys_N.numel()).amin(1)
    width = int((high_JB.masked_fill(empty_JB, 0).amax(1) - first_J).clamp(min=0).max())
    listed_JW = first_J[:, None] + torch.arange(width)
    mask_JBW = (low_JB[:, :, None] <= listed_JW[:, None]) & (listed_JW[:, None] < high_JB[:, :, None])
    if segment.keys_N.numel() == 0:
        return listed_JW, listed_JW, mask_JBW
    listed_JW = listed_JW.clamp(max=segment.keys_N.numel() - 1)
    return segment.keys_N[listed_JW], segment.order_N[listed_JW], mask_JBW
