"""The definition: dense masked attention, slow and plain, in any dtype. Every fast path is tested against it."""

import torch
from torch import Tensor

from dti.attention.masks import content_mask_of, listing_of
from dti.attention.visibility import Bank, View


def slopes_of(heads: int) -> Tensor:
    """ALiBi's slope of each head, ``2^(-8h/H)`` for h = 1 .. H (Press et al. 2022), (H,)."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)


class Reference:
    """Attention with one dense mask for content, one for probes, and one softmax a row.

    Attributes:
        gathers: whether probes gather what they read, so that it may lie anywhere in a larger table.
    """

    gathers = False

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.view, self.heads, self.device = view, heads, device

    def content(self, q_HSD: Tensor, content: Bank, scale: float) -> Tensor:
        """Attend from content to content.

        Args:
            q_HSD: queries.
            content: keys and values; queries and keys are rotated as content reads them.
            scale: factor of the scores.

        Returns:
            (H, S, D), the mean of the readable values, weighted by softmax, partly reset where content forgets.
        """
        order_S = self.view.order_S
        bias_SS = _hidden(torch.zeros(()), content_mask_of(self.view)).to(self.device)
        alpha_SS = _by_distance(self.view.content_alpha, order_S[:, None] - order_S)
        return _mix(q_HSD, _each_head(content, self.heads), bias_SS, alpha_SS, scale)

    def probes(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None = None) -> Tensor:
        """Attend from probes to content and to themselves.

        Args:
            q_HKD: the probes' queries.
            content: the content's keys and values.
            own: the probes' own; queries and keys are rotated as probes read them.
            scale: factor of the scores.
            slopes_H: the layer's slopes of the bias; None: ALiBi's own.

        Returns:
            (H, K, D), as for content.
        """
        listing = listing_of(self.view)
        keys_L = listing.keys_L.to(self.device)
        distance_KL = self.view.target_K[:, None] - listing.order_L
        bias_HKL = torch.zeros(self.heads, 1, 1, dtype=torch.float64)
        if self.view.biased:
            slopes_H = slopes_of(self.heads) if slopes_H is None else slopes_H.double().cpu()
            bias_HKL = -slopes_H[:, None, None] * distance_KL.clamp(min=0)
        bias_HKL = _hidden(bias_HKL, listing.readable_KL).to(self.device)
        alpha_KL = _by_distance(self.view.probe_alpha, distance_KL)
        k, v = torch.cat([content.k, own.k], dim=1), torch.cat([content.v, own.v], dim=1)
        # A probe never forgets itself: whatever stands for its initial value has no weight.
        v0 = None if content.v0 is None else torch.cat([content.v0, own.v], dim=1)
        listed = Bank(k, v, v0).map(lambda x: x[:, keys_L])
        return _mix(q_HKD, _each_head(listed, self.heads), bias_HKL, alpha_KL, scale)


def _each_head(bank: Bank, heads: int) -> Bank:
    """Repeat key/value heads for the query heads that share them."""
    return bank.map(lambda x: x.repeat_interleave(heads // x.shape[0], dim=0))


def _hidden(bias: Tensor, readable: Tensor) -> Tensor:
    """``bias`` where a key may be read, -inf elsewhere, float64."""
    return torch.where(readable, bias.double(), -torch.inf)


def _mix(q: Tensor, bank: Bank, bias: Tensor, alpha: Tensor | None, scale: float) -> Tensor:
    """Softmax of the biased scores over the bank, then the mean of its values, partly reset by alpha."""
    score = q @ bank.k.mT * scale
    weight = (score + bias.to(score.dtype)).softmax(dim=-1)
    if bank.v0 is None or alpha is None:
        return weight @ bank.v
    return weight @ bank.v + (weight * alpha.to(weight)) @ (bank.v0 - bank.v)


def _by_distance(alpha: Tensor | None, distance: Tensor) -> Tensor | None:
    """How much of each token each reader forgets, float64; None where that reading does not forget."""
    return None if alpha is None else alpha[distance.clamp(0, alpha.numel() - 1)]
