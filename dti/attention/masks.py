"""Dense masks of a view, for the reference and for looking at small rows.

Shape suffixes: S content tokens, K probe tokens, L listed keys, T = S + K.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dti.attention.visibility import View


@dataclass(frozen=True)
class Listing:
    """All segments of a view in one list, and the probes themselves behind them.

    Attributes:
        keys_L: places among all T tokens.
        order_L: their orders.
        readable_KL: which probe may read which.
    """

    keys_L: Tensor
    order_L: Tensor
    readable_KL: Tensor


def listing_of(view: View) -> Listing:
    """List all that probes may read, for the dense reference; K x L."""
    own_K = torch.arange(view.probes)
    same_KK = own_K[:, None] // view.probe_tokens == own_K // view.probe_tokens
    parts = []
    for segment in view.segments:
        listed_N = torch.arange(segment.keys_N.numel())
        parts.append((segment.low_K[:, None] <= listed_N) & (listed_N < segment.high_K[:, None]))
    return Listing(
        keys_L=torch.cat([*(segment.keys_N for segment in view.segments), view.content + own_K]),
        order_L=torch.cat([*(segment.order_N for segment in view.segments), view.target_K]),
        readable_KL=torch.cat([*parts, same_KK & (own_K <= own_K[:, None])], dim=1),
    )


def content_mask_of(view: View) -> Tensor:
    """Which content token (row) may read which (column), (S, S) bool."""
    own_S = torch.arange(view.content)
    inside = (view.start_S[:, None] <= own_S) & (own_S < view.stop_S[:, None])
    return inside | (own_S[:, None] == own_S)


def mask_of(view: View) -> Tensor:
    """The whole visibility as one dense mask, (T, T) bool: who (row) may read whom (column). For small rows."""
    content, total, early = view.content, view.content + view.probes, view.early
    mask = torch.zeros(total, total, dtype=torch.bool)
    mask[: early.content, : early.content] = content_mask_of(early)
    if view.beside is not None:
        _fill(mask, view.beside, early.content)
    _fill(mask, view, content)
    return mask


def _fill(mask: Tensor, view: View, first: int) -> None:
    """Draw what the probes of a view read; the first of them stands at ``first``."""
    listing = listing_of(view)
    places_L = torch.where(listing.keys_L < view.content, listing.keys_L, listing.keys_L - view.content + first)
    for probe, readable_L in enumerate(listing.readable_KL):
        mask[first + probe, places_L[readable_L]] = True
