"""Distance-based forgetting (``leakage: reset``): the paper's remedy for hidden-state leakage, in our reading.

The paper partially resets hidden states towards their initial state, more with distance (secondary sources; its own
formulas were not available). Resetting a state before its norm is not linear and would need keys and values per
distance. We reset what attention mixes: with p the attention weights, v the values of a layer and v0 the values that
the same layer projects from the tokens' *initial* embeddings, the output of a query is ::

    sum_j p_j [(1 - alpha(d_j)) v_j + alpha(d_j) v0_j]        d_j: distance in interactions

which equals one softmax over twice the keys, (k, v) with bias log(1 - alpha) and (k, v0) with bias log(alpha).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Family = Literal["linear", "exponential", "step"]


@dataclass(frozen=True)
class Forgetting:
    """How much of a state is reset at a distance, and who forgets.

    alpha(0) = 0, and alpha never falls with the distance d:

    * ``linear``: strength * d / n;
    * ``exponential``: 1 - (1 - strength) ** d;
    * ``step``: strength for every d > 0.

    Attributes:
        family: the shape of alpha.
        strength: between 0 (nothing is forgotten) and 1.
        at: whose reading forgets: ``probes``, ``content`` or ``both``.
    """

    family: Family
    strength: float
    at: Literal["probes", "content", "both"]

    def alpha(self, n: int) -> Tensor:
        """alpha(d) for d = 0 .. n, (n + 1,) float64."""
        distance = torch.arange(n + 1, dtype=torch.float64)
        if self.family == "linear":
            return self.strength * distance / n
        if self.family == "exponential":
            return 1 - (1 - self.strength) ** distance
        return self.strength * (distance > 0)
