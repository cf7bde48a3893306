"""AUC and gAUC of some targets with their intervals, and differences by draws of the same users."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dti.evaluation import metrics as m
from dti.evaluation.metrics import Array
from dti.evaluation.numbers import with_interval
from dti.report.document import Cell, Span


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval by user, and the draws behind it; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    draws: NDArray[np.float64]

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference of two estimates on the same draws of users."""
        undefined = self.value is None or other.value is None
        value = None if undefined else self.value - other.value  # type: ignore[operator]
        return estimate(value, self.draws - other.draws)

    def cell(self, form: str = ".4f", best: bool = False) -> Cell:
        """The value and its interval, in words and drawn."""
        if self.value is None or self.low is None or self.high is None:
            return Cell(with_interval(self.value, None, None, form), best)
        return Cell(with_interval(self.value, self.low, self.high, form), best, Span(self.value, self.low, self.high))


def estimate(value: float | None, draws: NDArray[np.float64]) -> Estimate:
    """A value with the interval of its draws."""
    low, high = m.interval(draws) or (None, None)
    return Estimate(value, low, high, draws)


@dataclass(frozen=True)
class Bootstrap:
    """How users are drawn: equal samples, seed and targets give equal draws, so that they can be subtracted."""

    samples: int
    seed: int

    def auc(self, label: Array, score: Array, user: Array) -> Estimate:
        """AUC with its interval."""
        return estimate(m.auc(label, score), m.auc_draws(label, score, user, self.samples, self.seed))

    def gauc(self, label: Array, score: Array, user: Array) -> Estimate:
        """gAUC, as ``auc``; users of one label have none and do not count."""
        return estimate(m.gauc(label, score, user), m.gauc_draws(label, score, user, self.samples, self.seed))


def winner(difference: Estimate, ours: str, theirs: str) -> str:
    """Who has the higher value, in words; no winner where the interval holds 0."""
    if difference.value is None:
        return "cannot be compared: only one label, or no targets"
    if difference.low is None or difference.high is None:
        return "too few users to tell"
    if difference.low > 0:
        return f"{ours} wins"
    return f"{theirs} wins" if difference.high < 0 else "no winner"
