"""Probes in blocks: what neighbours share is gathered once for a block, what each reads alone once for it.

Neighbouring probes of a user read much the same context, so a block of consecutive probes gathers the keys that any of
them may read. A target's own text is read by its probe alone (``context: label``) and gathered for it alone. One
softmax runs over all parts. No copy of the n + 1 contexts of each probe is made.

Shape suffixes: J blocks of B probes, G key/value heads, X query heads that share one (H = G X), W keys of a part.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from dti.attention.reference import slopes_of
from dti.attention.visibility import Bank, Segment, View

PROBES_PER_BLOCK = 16


@dataclass(frozen=True)
class Part:
    """Some of the keys of all blocks.

    Attributes:
        keys: places of content tokens: (J, W) where a block shares them, (J, B, W) where each probe has its own.
        hidden_JBW: 0 where a key may be read, -inf elsewhere, float32.
        distance_JBW: in interactions, at least 0; None where distance carries no bias.
        alpha: how much each probe forgets of each, (J, 1, 1, B, W); None where probes do not forget.
    """

    keys: Tensor
    hidden_JBW: Tensor
    distance_JBW: Tensor | None
    alpha: Tensor | None

    def bias(self, slopes_H: Tensor) -> Tensor:
        """The bias of each pair, (J, H, B, W)."""
        if self.distance_JBW is None:
            return self.hidden_JBW[:, None].expand(-1, slopes_H.numel(), -1, -1)
        return self.hidden_JBW[:, None] - slopes_H[:, None, None] * self.distance_JBW[:, None]


class ProbePlan:
    """The plan of a row's probes, the same for all layers."""

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.probes = view.probes
        self.blocks = -(-view.probes // PROBES_PER_BLOCK)
        # The last block's padding repeats the last probe; its results are dropped.
        place_JB = torch.arange(self.blocks * PROBES_PER_BLOCK).clamp(max=view.probes - 1).view(self.blocks, -1)
        self.parts = [_part(view, segment, place_JB, device) for segment in view.segments]
        self.slopes_H = slopes_of(heads).float().to(device)

    @cached_property
    def _biases(self) -> list[Tensor]:
        """Each part's bias with ALiBi's own slopes, which all layers share."""
        return [part.bias(self.slopes_H) for part in self.parts]

    def attend(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None) -> Tensor:
        """Attend; arguments and result as in ``Reference.probes``."""
        heads = content.k.shape[0]
        q_JGXBD = self._blocked(q_HKD, heads) * scale
        own_k, own_v = (self._blocked(x, heads) for x in (own.k, own.v))
        keys = (_gather(content.k, part.keys) for part in self.parts)
        biases = self._biases if slopes_H is None else [part.bias(slopes_H) for part in self.parts]
        scores = [
            _wide(_score(q_JGXBD, k)) + bias.unflatten(1, (heads, -1)) for k, bias in zip(keys, biases, strict=True)
        ]
        scores.append(_wide((q_JGXBD * own_k).sum(-1, keepdim=True)))
        weights = torch.cat(scores, dim=-1).softmax(dim=-1).to(own_v.dtype)
        *weights, own_weight = weights.split([score.shape[-1] for score in scores], dim=-1)
        out = own_weight * own_v
        for part, weight in zip(self.parts, weights, strict=True):
            out = out + _mean(weight, part, content)
        return out.permute(1, 2, 0, 3, 4).flatten(2, 3).flatten(0, 1)[:, : self.probes]

    def _blocked(self, x_HKD: Tensor, heads: int) -> Tensor:
        """(J, G, X, B, D), the last block padded."""
        padded = F.pad(x_HKD, (0, 0, 0, self.blocks * PROBES_PER_BLOCK - self.probes))
        return padded.unflatten(1, (self.blocks, PROBES_PER_BLOCK)).unflatten(0, (heads, -1)).permute(2, 0, 1, 3, 4)


def _wide(score: Tensor) -> Tensor:
    """At least float32: biases and softmax are too coarse in half precision."""
    return score.float() if score.dtype.itemsize < 4 else score


def _score(q_JGXBD: Tensor, k: Tensor) -> Tensor:
    """Scores of each probe with the keys of a part, (J, G, X, B, W)."""
    if k.ndim == 4:  # (J, G, W, D), shared by a block
        return (q_JGXBD.flatten(2, 3) @ k.mT).unflatten(2, q_JGXBD.shape[2:4])
    return (q_JGXBD.transpose(2, 3) @ k.mT).transpose(2, 3)


def _mean(weight_JGXBW: Tensor, part: Part, content: Bank) -> Tensor:
    """The weighted values of a part, partly reset by its alpha, (J, G, X, B, D)."""
    mean = _weigh(weight_JGXBW, _gather(content.v, part.keys))
    if part.alpha is None or content.v0 is None:
        return mean
    return mean + _weigh(weight_JGXBW * part.alpha.to(weight_JGXBW), _gather(content.v0 - content.v, part.keys))


def _weigh(weight_JGXBW: Tensor, v: Tensor) -> Tensor:
    if v.ndim == 4:
        return (weight_JGXBW.flatten(2, 3) @ v).unflatten(2, weight_JGXBW.shape[2:4])
    return (weight_JGXBW.transpose(2, 3) @ v).transpose(2, 3)


def _gather(x_GSD: Tensor, places: Tensor) -> Tensor:
    """The rows at ``places`` (J, ..., W) of every head, (J, G, ..., W, D).

    They come from one contiguous (S, G D) table, so that the backward pass is a plain sum of rows.
    """
    rows = x_GSD.transpose(0, 1).flatten(1).index_select(0, places.flatten())
    return rows.unflatten(1, (x_GSD.shape[0], -1)).unflatten(0, places.shape).movedim(-2, 1)


def _part(view: View, segment: Segment, place_JB: Tensor, device: torch.device) -> Part:
    """Plan one segment."""
    listed, mask_JBW = _listed(segment, place_JB)
    last = max(segment.keys_N.numel() - 1, 0)
    listed = listed.clamp(max=last)
    if segment.keys_N.numel() == 0:
        keys = order = listed
    else:
        keys, order = segment.keys_N[listed], segment.order_N[listed]
    distance_JBW = view.target_K[place_JB][:, :, None] - (order if order.ndim == 3 else order[:, None, :])
    hidden_JBW = torch.zeros(mask_JBW.shape).masked_fill_(~mask_JBW, -torch.inf).to(device)
    biased = distance_JBW.clamp(min=0).float().to(device) if view.biased else None
    alpha = None
    if view.probe_alpha is not None:
        alpha = view.probe_alpha.float()[distance_JBW.clamp(0, view.probe_alpha.numel() - 1)][:, None, None].to(device)
    return Part(keys.to(device), hidden_JBW, biased, alpha)


def _listed(segment: Segment, place_JB: Tensor) -> tuple[Tensor, Tensor]:
    """Which entries of the segment's list each block (J, W), or each probe (J, B, W), gathers, and reads (J, B, W)."""
    low_JB, high_JB = segment.low_K[place_JB], segment.high_K[place_JB]
    if not segment.shared:
        offset_W = torch.arange(int((high_JB - low_JB).max()))
        listed_JBW = low_JB[:, :, None] + offset_W
        return listed_JBW, listed_JBW < high_JB[:, :, None]
    empty_JB = high_JB <= low_JB
    first_J = low_JB.masked_fill(empty_JB, segment.keys_N.numel()).amin(1)
    width = int((high_JB.masked_fill(empty_JB, 0).amax(1) - first_J).clamp(min=0).max())
    listed_JW = first_J[:, None] + torch.arange(width)
    return listed_JW, (low_JB[:, :, None] <= listed_JW[:, None]) & (listed_JW[:, None] < high_JB[:, :, None])
