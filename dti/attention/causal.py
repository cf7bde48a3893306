"""Content that reads all of its own prompt or text before it, and nothing else: causal SDPA without a mask.

So read prompts of one target (a sliding window), and the items of a stream that read themselves alone. Runs of about
the same length are attended in one call, in which the kernel leaves out what lies behind each query.

Shape suffixes: S content tokens, R runs, L tokens of the longest run of a group, N = R L, D size of a head. Key/value
heads are repeated for the H query heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dti.attention.sending import sent
from dti.attention.visibility import View

STEP = 32
"""Runs whose lengths differ by less stand in one group; the CPU's kernel takes so many queries at a time."""


@dataclass(frozen=True)
class Group:
    """R runs of about one length, padded to L tokens."""

    runs: int
    length: int


@dataclass(frozen=True)
class Causal:
    """The plan of a row whose content reads in this way.

    Attributes:
        groups: the runs, by length.
        place_N: the content token at each place of the groups, one after the other; a short run repeats its last.
        back_S: where each content token stands there.
    """

    groups: list[Group]
    place_N: Tensor
    back_S: Tensor

    @property
    def mean_length(self) -> float:
        """Mean tokens of a run."""
        return self.back_S.numel() / sum(group.runs for group in self.groups)

    def attend(self, q_HSD: Tensor, k_HSD: Tensor, banks: Sequence[Tensor], scale: float) -> Tensor:
        """Attend, (H, S, D); ``banks`` are the values alone."""
        (v_HSD,) = banks
        parts = zip(*(self._grouped(x) for x in (q_HSD, k_HSD, v_HSD)), strict=True)
        out = [F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale) for q, k, v in parts]
        out_NHD = torch.cat([x.transpose(1, 2).flatten(0, 1) for x in out])
        return out_NHD.flatten(1).index_select(0, self.back_S).unflatten(1, out_NHD.shape[1:]).transpose(0, 1)

    def _grouped(self, x_HSD: Tensor) -> list[Tensor]:
        """Each group's runs, (R, H, L, D), from one contiguous table, whose backward pass is a plain sum of rows."""
        x_NHD = x_HSD.transpose(0, 1).flatten(1).index_select(0, self.place_N).unflatten(1, (x_HSD.shape[0], -1))
        sizes = [group.runs * group.length for group in self.groups]
        return [
            x.unflatten(0, (group.runs, group.length)).transpose(1, 2)
            for x, group in zip(x_NHD.split(sizes), self.groups, strict=True)
        ]


def causal_of(view: View, device: torch.device) -> Causal | None:
    """The plan of a row; None where some of its content reads in another way."""
    own_S = torch.arange(view.content)
    first_S = torch.ones_like(own_S, dtype=torch.bool)
    first_S[1:] = view.start_S[1:] != view.start_S[:-1]
    first_R = own_S[first_S]
    # Each run must begin where it reads from, and read up to each token itself.
    if not view.content or not (torch.equal(view.stop_S, own_S) and torch.equal(view.start_S[first_R], first_R)):
        return None
    length_R = torch.diff(first_R, append=torch.tensor([view.content]))
    size_R = (length_R - 1) // STEP
    groups, places, back_S, done = [], [], torch.empty_like(own_S), 0
    for size in size_R.unique().tolist():
        first, length = first_R[size_R == size, None], length_R[size_R == size, None]
        offset = torch.arange(int(length.max()))
        place_RL = first + torch.minimum(offset, length - 1)
        groups.append(Group(*place_RL.shape))
        places.append(place_RL.flatten())
        real = (offset < length).flatten()
        back_S[places[-1][real]] = done + torch.arange(real.numel())[real]
        done += real.numel()
    return Causal(groups, sent(torch.cat(places), device), sent(back_S, device))
