"""The definition: dense masked attention, slow and plain, in any dtype. Every fast path is tested against it."""

import torch
from torch import Tensor

from dti.attention.visibility import View, content_mask_of, listing_of


def slopes_of(heads: int) -> Tensor:
    """ALiBi's slope of each head, ``2^(-8h/H)`` for h = 1 .. H (Press et al. 2022), (H,)."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)


class Reference:
    """Attention with one dense mask for content, one for probes, and one softmax a row."""

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.view, self.heads, self.device = view, heads, device

    def content(self, q_HSD: Tensor, k_HSD: Tensor, v_HSD: Tensor, v0_HSD: Tensor | None, scale: float) -> Tensor:
        """Attend from content to content.

        Args:
            q_HSD, k_HSD: queries and keys, rotated as content reads them.
            v_HSD: values.
            v0_HSD: values of the initial embeddings; None where nothing is forgotten.
            scale: factor of the scores.

        Returns:
            (H, S, D), the mean of the readable values, weighted by softmax, partly reset where content forgets.
        """
        order_S = self.view.order_S
        bias_SS = _hidden(torch.zeros(()), content_mask_of(self.view)).to(self.device)
        alpha_SS = _by_distance(self.view.content_alpha, order_S[:, None] - order_S)
        return _mix(q_HSD @ k_HSD.mT * scale, bias_SS, v_HSD, v0_HSD, alpha_SS)

    def probes(self, q_HKD: Tensor, k_HTD: Tensor, v_HTD: Tensor, v0_HTD: Tensor | None, scale: float) -> Tensor:
        """Attend from probes to what they read.

        Args:
            q_HKD: the probes' rotated queries.
            k_HTD, v_HTD, v0_HTD: keys of all tokens, content first, rotated as probes read them; their values, and
                those of their initial embeddings (None where nothing is forgotten).
            scale: factor of the scores.

        Returns:
            (H, K, D), as for content.
        """
        listing = listing_of(self.view)
        keys_L = listing.keys_L.to(self.device)
        distance_KL = self.view.target_K[:, None] - listing.order_L
        bias_HKL = torch.zeros(self.heads, 1, 1, dtype=torch.float64)
        if self.view.biased:
            bias_HKL = -slopes_of(self.heads)[:, None, None] * distance_KL.clamp(min=0)
        bias_HKL = _hidden(bias_HKL, listing.readable_KL).to(self.device)
        alpha_KL = _by_distance(self.view.probe_alpha, distance_KL)
        v0_HLD = None if v0_HTD is None else v0_HTD[:, keys_L]
        return _mix(q_HKD @ k_HTD[:, keys_L].mT * scale, bias_HKL, v_HTD[:, keys_L], v0_HLD, alpha_KL)


def _hidden(bias: Tensor, readable: Tensor) -> Tensor:
    """``bias`` where a key may be read, -inf elsewhere, float64."""
    return torch.where(readable, bias.double(), -torch.inf)


def _mix(score: Tensor, bias: Tensor, v: Tensor, v0: Tensor | None, alpha: Tensor | None) -> Tensor:
    """Softmax over the last dimension of ``score + bias``, then the mean of the values, partly reset by alpha."""
    weight = (score + bias.to(score.dtype)).softmax(dim=-1)
    if v0 is None or alpha is None:
        return weight @ v
    return weight @ v + (weight * alpha.to(weight)) @ (v0 - v)


def _by_distance(alpha: Tensor | None, distance: Tensor) -> Tensor | None:
    """How much of each token each reader forgets, float64; None where that reading does not forget."""
    return None if alpha is None else alpha[distance.clamp(0, alpha.numel() - 1)]
