"""The definition: dense masked attention, slow and plain, in any dtype. Every fast path is tested against it."""

import torch
from torch import Tensor

from dti.attention.visibility import View, distance_of, mask_of


def slopes_of(heads: int) -> Tensor:
    """ALiBi's slope of each head, ``2^(-8h/H)`` for h = 1 .. H (Press et al. 2022), (H,)."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)


class Reference:
    """Attention over the whole row with one T x T mask and one softmax."""

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        total, content = view.content + view.probes, view.content
        distance_TT = distance_of(view)
        bias_HTT = torch.zeros(heads, total, total, dtype=torch.float64)
        if view.biased:
            bias_HTT[:, content:] -= slopes_of(heads)[:, None, None] * distance_TT[content:]
        bias_HTT.masked_fill_(~mask_of(view), -torch.inf)
        self.bias_HTT = bias_HTT.to(device)
        self.alpha_TT = _alphas(view, distance_TT).to(device)
        self.content = content

    def __call__(
        self, q_HTD: Tensor, k_HSD: Tensor, k_HTD: Tensor, v_HTD: Tensor, v0_HTD: Tensor | None, scale: float
    ) -> Tensor:
        """Attend.

        Args:
            q_HTD: rotated queries, content first, probes last.
            k_HSD: the content's keys, rotated as content reads them.
            k_HTD: all keys, rotated as probes read them.
            v_HTD: values.
            v0_HTD: values of the initial embeddings; None where nothing is forgotten.
            scale: factor of the scores.

        Returns:
            (H, T, D), the mean of the readable values, weighted by softmax, partly reset where the view forgets.
        """
        S = self.content
        content_HSS = q_HTD[:, :S] @ k_HSD.mT
        probes_HKT = q_HTD[:, S:] @ k_HTD.mT
        # No content token reads a probe: the mask hides those columns, whatever stands in them.
        blank_HSK = content_HSS.new_zeros(*content_HSS.shape[:2], q_HTD.shape[1] - S)
        score_HTT = torch.cat([torch.cat([content_HSS, blank_HSK], dim=2), probes_HKT], dim=1) * scale
        weight_HTT = (score_HTT + self.bias_HTT.to(score_HTT.dtype)).softmax(dim=-1)
        if v0_HTD is None:
            return weight_HTT @ v_HTD
        return weight_HTT @ v_HTD + (weight_HTT * self.alpha_TT.to(weight_HTT.dtype)) @ (v0_HTD - v_HTD)


def _alphas(view: View, distance_TT: Tensor) -> Tensor:
    """How much of each readable token each reader forgets, (T, T) float64; 0 where its reading does not forget."""
    alpha_TT = torch.zeros(distance_TT.shape, dtype=torch.float64)
    S = view.content
    for rows, alpha in ((slice(0, S), view.content_alpha), (slice(S, None), view.probe_alpha)):
        if alpha is not None:
            alpha_TT[rows] = alpha[distance_TT[rows].clamp(max=alpha.numel() - 1)]
    return alpha_TT
