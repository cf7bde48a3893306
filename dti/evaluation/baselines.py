"""What a model has to beat: item popularity, and a logistic regression on two numbers.

All statistics come from the training split; a user's own history is known up to the target, as it is to the model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

SMOOTHING = 5.0
"""Every rate counts this many imagined interactions at the training split's positive rate."""

TRAIN, SPLITS = 1, {"valid": 2, "test": 3}


@dataclass(frozen=True)
class Baselines:
    """Labels and baseline scores (click probabilities) of one split's T targets in store order, each (T,)."""

    label: NDArray[np.int8]
    popularity: NDArray[np.float64]
    regression: NDArray[np.float64]


def baselines(
    user: NDArray[np.int32], item: NDArray[np.int32], label: NDArray[np.int8], split: NDArray[np.int8]
) -> dict[str, Baselines]:
    """Score the validation and test targets by both baselines.

    Popularity is the item's positive rate in training. The regression has two features, as log odds: the user's
    positive rate over all of their earlier interactions, and the item's positive rate in training; it is fitted on
    all training targets. Every rate is smoothed (``SMOOTHING``). A training target's item rate includes the target
    itself: leaving it out was tried on MovieLens-1M and changes AUC by 0.0001.

    Args:
        user, item, label, split: all M interactions in store order, each (M,): users contiguous, each in time order;
            split is 0 context, 1 train, 2 valid, 3 test.

    Returns:
        ``{"valid": Baselines, "test": Baselines}``; empty arrays for a split without targets.
    """
    train = split == TRAIN
    base = (np.count_nonzero(label[train]) + 1) / (np.count_nonzero(train) + 2)  # never 0 or 1: log odds are finite
    popularity = item_rate(item, label, train, base)
    feature = np.stack([_log_odds(running_rate(user, label, base)), _log_odds(popularity)], axis=1)
    regression = _fit_and_score(feature, label, train, base)
    rows = {name: split == code for name, code in SPLITS.items()}
    return {name: Baselines(label[row], popularity[row], regression[row]) for name, row in rows.items()}


def _smoothed(positives: NDArray[Any], count: NDArray[Any], base: float) -> NDArray[np.float64]:
    return (positives + SMOOTHING * base) / (count + SMOOTHING)


def item_rate(
    item: NDArray[np.int32], label: NDArray[np.int8], train: NDArray[np.bool_], base: float
) -> NDArray[np.float64]:
    """Each interaction's (M,) item's positive rate among the ``train`` interactions, smoothed towards ``base``."""
    items = int(item.max(initial=-1)) + 1
    count = np.bincount(item[train], minlength=items)
    positives = np.bincount(item[train], weights=label[train], minlength=items)
    return _smoothed(positives, count, base)[item]


def running_rate(user: NDArray[np.int32], label: NDArray[np.int8], base: float) -> NDArray[np.float64]:
    """Each interaction's (M,) user's positive rate strictly before it, smoothed towards ``base``."""
    place = np.arange(user.size)
    first = np.maximum.accumulate(np.where(np.diff(user, prepend=-1) != 0, place, 0))
    positives = np.concatenate(([0.0], np.cumsum(label, dtype=np.float64)))
    return _smoothed(positives[:-1] - positives[first], place - first, base)


def _log_odds(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(rate / (1 - rate))


def _fit_and_score(
    feature: NDArray[np.float64], label: NDArray[np.int8], train: NDArray[np.bool_], base: float
) -> NDArray[np.float64]:
    """Probabilities (M,) of a regression fitted on the ``train`` rows; ``base`` for all where they hold one label."""
    if np.unique(label[train]).size < 2:
        return np.full(label.size, base)
    return LogisticRegression().fit(feature[train], label[train]).predict_proba(feature)[:, 1]
