"""Candidates beside one another: content in two parts, each read by the backend's own means.

The shared context reads by intervals, as all content does. A candidate's text reads two intervals, the context and its
own earlier tokens, as a probe does; so the backend's way of reading with probes serves it, too.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dti.attention.visibility import Bank, View


class Beside:
    """The attention of a row whose view has ``beside``; arguments and results as in ``Reference``.

    Args:
        backend: makes the attention of one view.
    """

    def __init__(
        self, backend: Callable[[View, int, torch.device], Any], view: View, heads: int, device: torch.device
    ) -> None:
        assert view.beside is not None
        self.early = view.early.content
        self.shared, self.texts, self.all = (backend(v, heads, device) for v in (view.early, view.beside, view))

    def content(self, q_HSD: Tensor, content: Bank, scale: float) -> Tensor:
        """Attend from content to content."""
        early, texts = content.map(lambda x: x[:, : self.early]), content.map(lambda x: x[:, self.early :])
        parts = [self.texts.probes(q_HSD[:, self.early :], content, texts, scale)]
        if self.early:
            parts.insert(0, self.shared.content(q_HSD[:, : self.early], early, scale))
        return torch.cat(parts, dim=1)

    def probes(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None = None) -> Tensor:
        """Attend from probes to content and themselves."""
        return self.all.probes(q_HKD, content, own, scale, slopes_H)
