"""How many tokens a target costs: the predicted gain of streaming prompts over the sliding window.

c is the mean of an interaction's content tokens (text and label); n the context, k the targets of a prompt. Short
histories, profiles and the quadratic part of attention are left out; counted tokens stand beside these in the report.
"""

from dataclasses import asdict, dataclass

from dti.prompts.store import Targets


def sliding_tokens(n: int, c: float) -> float:
    """``(n + 1) c`` tokens per target: a prompt per target; its probe stands in place of the target's label."""
    return (n + 1) * c


def stream_tokens(n: int, k: Targets, c: float) -> float:
    """``(n + k) c / k + 1`` tokens per target: n + k interactions and k probes for k targets; ``c + 1`` for all."""
    return c + 1 if k == "all" else (n + k) * c / k + 1


def unique_tokens(distinct: float, c: float, labels: int, targets: int) -> float:
    """``u (c - 1 + labels) / k' + 1`` tokens per target where a batch encodes each distinct item once (ours).

    Args:
        distinct: u, the distinct items of a batch.
        c: content tokens of an interaction, one label included.
        labels: the label tokens that stand behind each item's text.
        targets: k', the targets of the batch.
    """
    return distinct * (c - 1 + labels) / targets + 1


def ratio_limit(n: int, k: Targets) -> float:
    """``k (n + 1) / (n + k)``: the most that streaming can gain, probes not counted; ``n + 1`` for all."""
    return n + 1 if k == "all" else k * (n + 1) / (n + k)


@dataclass(frozen=True)
class Prediction:
    """The cost model's tokens per target for one data set and their ratio (sliding / this k)."""

    content_per_interaction: float
    sliding: float
    this_k: float
    ratio: float
    ratio_limit: float

    def rounded(self) -> dict[str, float]:
        """As a report shows it."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def predict(n: int, k: Targets, c: float) -> Prediction:
    """Tokens per target in sliding-window prompts and in prompts of k targets."""
    sliding = sliding_tokens(n, c)
    this_k = sliding if k == 1 else stream_tokens(n, k, c)
    return Prediction(c, sliding, this_k, sliding / this_k, ratio_limit(n, k))
