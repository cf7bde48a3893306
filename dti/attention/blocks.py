"""Block-sparse attention on any device: no T x T anywhere, cost linear in the row.

Content is cut into blocks (``banded.py``); where it reads whole prompts or texts alone, and they are long, those are
attended as they are (``causal.py``). Probes are cut into blocks of their own (``probes.py``).
"""

from functools import cached_property

import torch
from torch import Tensor

from dti.attention.banded import Banded
from dti.attention.causal import Causal, causal_of
from dti.attention.probes import ProbePlan
from dti.attention.visibility import Bank, View

LONG = 64
"""Mean tokens of a prompt or text from which on it is attended as it is: gathering short ones takes longer."""


class Blocks:
    """The same attention as ``Reference``, in blocks."""

    gathers = True

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.view, self.heads, self.device = view, heads, device

    def content(self, q_HSD: Tensor, content: Bank, scale: float) -> Tensor:
        """Attend from content to content; arguments and result as in ``Reference``."""
        forgets = content.v0 is not None and self.view.content_alpha is not None
        wanted = [content.v, content.v0] if forgets else [content.v]
        k, *banks = (_each_head(x, self.heads) for x in (content.k, *wanted) if x is not None)
        return self._content.attend(q_HSD, k, banks, scale)

    def probes(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None = None) -> Tensor:
        """Attend from probes to content and themselves; arguments and result as in ``Reference``."""
        return self._probes.attend(q_HKD, content, own, scale, slopes_H)

    @cached_property
    def _content(self) -> Banded | Causal:
        causal = None if self.view.content_alpha is not None else causal_of(self.view, self.device)
        return causal if causal is not None and causal.mean_length >= LONG else Banded(self.view, self.device)

    @cached_property
    def _probes(self) -> ProbePlan:
        return ProbePlan(self.view, self.heads, self.device)


def _each_head(x_GND: Tensor, heads: int) -> Tensor:
    """Repeat key/value heads for the query heads that share them."""
    group = heads // x_GND.shape[0]
    return x_GND if group == 1 else x_GND.repeat_interleave(group, dim=0)
