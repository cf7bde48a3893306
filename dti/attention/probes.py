"""Probes in blocks: what neighbours share is gathered once for a block, what each reads alone once for it.

Neighbouring probes of a user read much the same context, so a block of consecutive probes gathers the keys that any of
them may read. A target's own text is read by its probe tokens alone (``context: label``), and gathered for each. One
softmax runs over all parts, and over the probe tokens of one target. No copy of the n + 1 contexts of each probe is
made.

Shape suffixes: J blocks of B probe tokens, Q = J B of them, P of each target, G key/value heads, X query heads that
share one (H = G X), T targets of a block, W keys of a part, N pairs of a probe token and a key of its own.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from dti.attention.reference import slopes_of
from dti.attention.sending import sent
from dti.attention.visibility import Bank, Segment, View

TARGETS_PER_BLOCK = 16
MANY_PER_BLOCK = 128
"""Where all of so many neighbours read the same keys, as the candidates of a request do."""


@dataclass(frozen=True)
class Part:
    """Some of the keys of all blocks.

    Attributes:
        hidden_JBW: 0 where a key may be read, -inf elsewhere, float32.
        distance_JBW: in interactions, at least 0; None where distance carries no bias.
        alpha: how much each probe forgets of each, (J, 1, 1, B, W); None where probes do not forget.
    """

    hidden_JBW: Tensor
    distance_JBW: Tensor | None
    alpha: Tensor | None

    def bias(self, slopes_H: Tensor) -> Tensor:
        """The bias of each pair, (J, H, B, W)."""
        if self.distance_JBW is None:
            return self.hidden_JBW[:, None].expand(-1, slopes_H.numel(), -1, -1)
        return self.hidden_JBW[:, None] - slopes_H[:, None, None] * self.distance_JBW[:, None]

    def score(self, q_JGXBD: Tensor, k_GSD: Tensor) -> Tensor:
        """Scores of each probe with its keys, (J, G, X, B, W)."""
        raise NotImplementedError

    def weigh(self, weight_JGXBW: Tensor, v_GSD: Tensor) -> Tensor:
        """The weighted sums of values, (J, G, X, B, D)."""
        raise NotImplementedError

    def mean(self, weight_JGXBW: Tensor, content: Bank) -> Tensor:
        """The weighted values, partly reset by alpha, (J, G, X, B, D)."""
        mean = self.weigh(weight_JGXBW, content.v)
        if self.alpha is None or content.v0 is None:
            return mean
        return mean + self.weigh(weight_JGXBW * self.alpha.to(weight_JGXBW), content.v0 - content.v)


@dataclass(frozen=True)
class Shared(Part):
    """Keys that a block's probes share: ``keys_JW`` are places of content tokens."""

    keys_JW: Tensor

    def score(self, q_JGXBD: Tensor, k_GSD: Tensor) -> Tensor:
        """See ``Part``."""
        return (q_JGXBD.flatten(2, 3) @ self._gather(k_GSD).mT).unflatten(2, q_JGXBD.shape[2:4])

    def weigh(self, weight_JGXBW: Tensor, v_GSD: Tensor) -> Tensor:
        """See ``Part``."""
        return (weight_JGXBW.flatten(2, 3) @ self._gather(v_GSD)).unflatten(2, weight_JGXBW.shape[2:4])

    def _gather(self, x_GSD: Tensor) -> Tensor:
        """(J, G, W, D)."""
        return _rows(x_GSD, self.keys_JW.flatten()).unflatten(0, self.keys_JW.shape).movedim(-2, 1)


@dataclass(frozen=True)
class Own(Part):
    """Keys that each probe has for itself, as a list of pairs: texts differ in length, and none is padded here.

    Attributes:
        keys_N: the place of each pair's content token.
        probe_N: its probe, ascending.
        column_N: which of its probe's keys it is.
    """

    keys_N: Tensor
    probe_N: Tensor
    column_N: Tensor

    def score(self, q_JGXBD: Tensor, k_GSD: Tensor) -> Tensor:
        """See ``Part``."""
        blocks, per_block, width = self.hidden_JBW.shape
        q_NGXD = q_JGXBD.permute(0, 3, 1, 2, 4).flatten(0, 1).index_select(0, self.probe_N)
        score_NGX = (q_NGXD * _rows(k_GSD, self.keys_N)[:, :, None]).sum(-1)
        padded = score_NGX.new_zeros(blocks * per_block * width, *score_NGX.shape[1:])
        padded = padded.index_copy(0, self.probe_N * width + self.column_N, score_NGX)
        return padded.unflatten(0, (blocks, per_block, width)).permute(0, 3, 4, 1, 2)

    def weigh(self, weight_JGXBW: Tensor, v_GSD: Tensor) -> Tensor:
        """See ``Part``."""
        blocks, per_block, width = self.hidden_JBW.shape
        weight_NGX = weight_JGXBW.permute(0, 3, 4, 1, 2).flatten(0, 2)
        weight_NGX = weight_NGX.index_select(0, self.probe_N * width + self.column_N)
        value_NGXD = weight_NGX[..., None] * _rows(v_GSD, self.keys_N)[:, :, None]
        sum_QGXD = value_NGXD.new_zeros(blocks * per_block, *value_NGXD.shape[1:])
        sum_QGXD = sum_QGXD.index_add(0, self.probe_N, value_NGXD)
        return sum_QGXD.unflatten(0, (blocks, per_block)).permute(0, 2, 3, 1, 4)


class ProbePlan:
    """The plan of a row's probes, the same for all layers."""

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.probes, self.each = view.probes, view.probe_tokens
        self.per_block = _probes_per_block(view)
        self.blocks = -(-view.probes // self.per_block)
        # The last block's padding repeats the last probe; its results are dropped.
        place_JB = torch.arange(self.blocks * self.per_block).clamp(max=view.probes - 1).view(self.blocks, -1)
        self.parts = [_part(view, segment, place_JB, device) for segment in view.segments]
        self.slopes_H = sent(slopes_of(heads).float(), device)
        self.later_PP = sent(torch.full((self.each, self.each), -torch.inf).triu(1), device)

    @cached_property
    def _biases(self) -> list[Tensor]:
        """Each part's bias with ALiBi's own slopes, which all layers share."""
        return [part.bias(self.slopes_H) for part in self.parts]

    def attend(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None) -> Tensor:
        """Attend; arguments and result as in ``Reference.probes``."""
        heads = content.k.shape[0]
        q_JGXBD = self._blocked(q_HKD, heads) * scale
        own_k, own_v = (self._blocked(x, heads) for x in (own.k, own.v))
        biases = self._biases if slopes_H is None else [part.bias(slopes_H) for part in self.parts]
        scores = [
            _wide(part.score(q_JGXBD, content.k)) + bias.unflatten(1, (heads, -1))
            for part, bias in zip(self.parts, biases, strict=True)
        ]
        scores.append(self._own_scores(q_JGXBD, own_k))
        weights = torch.cat(scores, dim=-1).softmax(dim=-1).to(own_v.dtype)
        *weights, own_weight = weights.split([score.shape[-1] for score in scores], dim=-1)
        out = self._own_mean(own_weight, own_v)
        for part, weight in zip(self.parts, weights, strict=True):
            out = out + part.mean(weight, content)
        return out.permute(1, 2, 0, 3, 4).flatten(2, 3).flatten(0, 1)[:, : self.probes]

    def _own_scores(self, q_JGXBD: Tensor, k_JGXBD: Tensor) -> Tensor:
        """Scores of each probe token with those of its target, (J, G, X, B, P); -inf for later ones."""
        q_JGXTPD, k_JGXTPD = (x.unflatten(3, (-1, self.each)) for x in (q_JGXBD, k_JGXBD))
        score_JGXTPP = (q_JGXTPD[..., :, None, :] * k_JGXTPD[..., None, :, :]).sum(-1)
        return (_wide(score_JGXTPP) + self.later_PP).flatten(3, 4)

    def _own_mean(self, weight_JGXBP: Tensor, v_JGXBD: Tensor) -> Tensor:
        """The weighted values of the probe tokens of each one's target, (J, G, X, B, D)."""
        weight_JGXTPP, v_JGXTPD = (x.unflatten(3, (-1, self.each)) for x in (weight_JGXBP, v_JGXBD))
        weighted = weight_JGXTPP[..., None] * v_JGXTPD[..., None, :, :]
        return weighted.sum(-2, dtype=v_JGXBD.dtype).flatten(3, 4)  # autocast would sum to float32

    def _blocked(self, x_HKD: Tensor, heads: int) -> Tensor:
        """(J, G, X, B, D), the last block padded."""
        padded = F.pad(x_HKD, (0, 0, 0, self.blocks * self.per_block - self.probes))
        return padded.unflatten(1, (self.blocks, self.per_block)).unflatten(0, (heads, -1)).permute(2, 0, 1, 3, 4)


def _wide(score: Tensor) -> Tensor:
    """At least float32: biases and softmax are too coarse in half precision."""
    return score.float() if score.dtype.itemsize < 4 else score


def _rows(x_GSD: Tensor, places_N: Tensor) -> Tensor:
    """The rows at some places of every head, (N, G, D).

    They come from one contiguous (S, G D) table, so that the backward pass is a plain sum of rows.
    """
    return x_GSD.transpose(0, 1).flatten(1).index_select(0, places_N).unflatten(1, (x_GSD.shape[0], -1))


def _probes_per_block(view: View) -> int:
    """Many where they read little more together than few do, so that shared keys are gathered less often."""
    shared = [segment for segment in view.segments if segment.shared]

    few, many = (size * view.probe_tokens for size in (TARGETS_PER_BLOCK, MANY_PER_BLOCK))

    def gathered(size: int) -> int:
        blocks = -(-view.probes // size)
        place_JB = torch.arange(blocks * size).clamp(max=view.probes - 1).view(blocks, -1)
        return sum(_span(segment, place_JB)[1] for segment in shared)

    return many if view.probes >= many and gathered(many) <= 1.5 * gathered(few) else few


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
    hidden_JBW = sent(torch.zeros(mask_JBW.shape).masked_fill_(~mask_JBW, -torch.inf), device)
    biased = sent(distance_JBW.clamp(min=0).float(), device) if view.biased else None
    alpha = None
    if view.probe_alpha is not None:
        alpha = view.probe_alpha.float()[distance_JBW.clamp(0, view.probe_alpha.numel() - 1)]
        alpha = sent(alpha[:, None, None], device)
    if segment.shared:
        return Shared(hidden_JBW, biased, alpha, sent(keys, device))
    probe_N, column_N = mask_JBW.flatten(0, 1).nonzero(as_tuple=True)
    return Own(hidden_JBW, biased, alpha, *(sent(x, device) for x in (keys[mask_JBW], probe_N, column_N)))


def _listed(segment: Segment, place_JB: Tensor) -> tuple[Tensor, Tensor]:
    """Which entries of the segment's list each block (J, W), or each probe (J, B, W), gathers, and reads (J, B, W)."""
    low_JB, high_JB = segment.low_K[place_JB], segment.high_K[place_JB]
    if not segment.shared:
        offset_W = torch.arange(int((high_JB - low_JB).max()))
        listed_JBW = low_JB[:, :, None] + offset_W
        return listed_JBW, listed_JBW < high_JB[:, :, None]
    first_J, width = _span(segment, place_JB)
    listed_JW = first_J[:, None] + torch.arange(width)
    return listed_JW, (low_JB[:, :, None] <= listed_JW[:, None]) & (listed_JW[:, None] < high_JB[:, :, None])


def _span(segment: Segment, place_JB: Tensor) -> tuple[Tensor, int]:
    """The first entry that each block reads, and how many the widest block reads from there."""
    low_JB, high_JB = segment.low_K[place_JB], segment.high_K[place_JB]
    empty_JB = high_JB <= low_JB
    first_J = low_JB.masked_fill(empty_JB, segment.keys_N.numel()).amin(1)
    return first_J, int((high_JB.masked_fill(empty_JB, 0).amax(1) - first_J).clamp(min=0).max())
