"""Metrics of click probabilities, from scikit-learn where it has them.

Every function takes arrays over T targets and returns plain floats, ready for JSON. Where a metric is undefined it
returns None, never NaN and never an exception: ranking metrics and F1 of one class, anything of no targets.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from dti.errors import DtiError

Array = NDArray[Any]

ECE_BINS = 15
LEAST_USERS = 10
"""Fewer users than this are too few for an interval by user: drawn again and again, two users give three values."""


@dataclass(frozen=True)
class ScoredSplit:
    """The scored targets of one split; every array has shape (T,).

    Attributes:
        user, item: int32 indices into the packed users and items.
        label: int8, 0 or 1.
        score: float64, the predicted click probability.
        timestamp: int64, seconds since 1970.
        strict: bool, whether the target's predecessor in its user's history is strictly earlier in time.
        probability: float32, the true click probability where the data set knows it.

    Raises:
        DtiError: a score is NaN, infinite or no probability.
    """

    user: Array
    item: Array
    label: Array
    score: Array
    timestamp: Array
    strict: Array
    probability: Array | None = None

    def __post_init__(self) -> None:
        wrong = int(np.count_nonzero(~((self.score >= 0) & (self.score <= 1))))
        if wrong:
            raise DtiError(
                f"{wrong:,} of {self.score.size:,} scores are no probabilities (NaN?): training has diverged; "
                "lower train.learning_rate and run again"
            )


@dataclass(frozen=True)
class Bins:
    """Targets sorted by score and cut into B bins: mean score, positive rate and number of targets, each (B,)."""

    score: NDArray[np.float64]
    rate: NDArray[np.float64]
    count: NDArray[np.int64]


def _both(label: Array) -> bool:
    return label.size > 0 and label.min() != label.max()


def auc(label: Array, score: Array) -> float | None:
    """Area under the ROC curve; None unless both labels occur."""
    return float(sk.roc_auc_score(label, score)) if _both(label) else None


def auc_strict(label: Array, score: Array, strict: Array) -> float | None:
    """AUC of the targets whose predecessor is strictly earlier (``strict``, bool): nothing entered in one go."""
    return auc(label[strict], score[strict])


def auc_interval(label: Array, score: Array, user: Array, samples: int, seed: int) -> tuple[float, float] | None:
    """Bootstrap 95 % interval of AUC: users are drawn with replacement, each with all of their targets.

    Returns:
        (low, high), or None where no draw has an AUC, or users are fewer than ``LEAST_USERS``.
    """
    return interval(auc_draws(label, score, user, samples, seed)) if _both(label) else None


def interval(draws: NDArray[np.float64]) -> tuple[float, float] | None:
    """The middle 95 % of bootstrap draws, (low, high); NaN draws are left out, and None stands for no draws."""
    found = draws[~np.isnan(draws)]
    return (float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))) if found.size else None


def auc_draws(label: Array, score: Array, user: Array, samples: int, seed: int) -> NDArray[np.float64]:
    """AUC of ``samples`` draws of users with replacement, each with all of their targets; NaN of one label only, and
    all NaN where users are fewer than ``LEAST_USERS``.

    A draw weighs every target by how often its user was drawn, so that the scores are sorted once. Equal ``user``,
    ``samples`` and ``seed`` draw the same users, whatever the scores: draws of two models can be paired.
    """
    _, user = np.unique(user, return_inverse=True)
    users, positive = int(user.max(initial=-1)) + 1, label == 1
    order = np.argsort(score[~positive], kind="stable")
    owner_of_negative, owner_of_positive = user[~positive][order], user[positive]
    below, up_to = _ranks(score[~positive][order], score[positive])
    rng = np.random.default_rng(seed)
    draws = np.full(samples, np.nan)
    for place in range(samples if users >= LEAST_USERS else 0):
        weight = np.bincount(rng.integers(users, size=users), minlength=users).astype(np.float64)
        negatives = np.concatenate(([0.0], np.cumsum(weight[owner_of_negative])))
        positives = weight[owner_of_positive]
        pairs = positives.sum() * negatives[-1]
        if pairs > 0:
            draws[place] = (positives * (negatives[below] + negatives[up_to])).sum() / (2 * pairs)
    return draws


def _ranks(negatives: Array, positives: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each positive, how many of the sorted negatives are smaller, and how many are not larger."""
    return np.searchsorted(negatives, positives, "left"), np.searchsorted(negatives, positives, "right")


def gauc(label: Array, score: Array, user: Array) -> float | None:
    """Mean AUC of the users with both labels, weighted by their targets; None where there is no such user."""
    value, weight = _user_aucs(label, score, user)
    return float(np.average(value, weights=weight)) if weight.any() else None


def gauc_draws(label: Array, score: Array, user: Array, samples: int, seed: int) -> NDArray[np.float64]:
    """gAUC of the same draws of users as ``auc_draws`` makes; NaN where no drawn user has both labels, and all NaN
    where users with both are fewer than ``LEAST_USERS``."""
    value, weight = _user_aucs(label, score, user)
    rng = np.random.default_rng(seed)
    draws = np.full(samples, np.nan)
    for place in range(samples if np.count_nonzero(weight) >= LEAST_USERS else 0):
        times = np.bincount(rng.integers(weight.size, size=weight.size), minlength=weight.size) * weight
        if times.any():
            draws[place] = np.average(value, weights=times)
    return draws


def _user_aucs(label: Array, score: Array, user: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each user's AUC and weight, both (U,): the number of targets, or 0 (and AUC 0) without both labels."""
    _, user = np.unique(user, return_inverse=True)
    _, rank = np.unique(score, return_inverse=True)
    users = int(user.max(initial=-1)) + 1
    key = user.astype(np.int64) * (int(rank.max(initial=0)) + 1) + rank
    positive = label == 1
    negatives_of = np.bincount(user[~positive], minlength=users)
    below, up_to = _ranks(np.sort(key[~positive]), key[positive])
    first = (np.cumsum(negatives_of) - negatives_of)[user[positive]]
    wins = np.bincount(user[positive], weights=(below + up_to) / 2 - first, minlength=users)
    targets = np.bincount(user, minlength=users)
    pairs = negatives_of * (targets - negatives_of)
    value = np.divide(wins, pairs, out=np.zeros(users), where=pairs > 0)
    return value, np.where(pairs > 0, targets, 0).astype(np.float64)


def log_loss(label: Array, score: Array) -> float | None:
    """Mean cross-entropy in nats; None of no targets."""
    return float(sk.log_loss(label, score, labels=[0, 1])) if label.size else None


def best_f1_threshold(label: Array, score: Array) -> float | None:
    """The score at and above which calling a target positive gives the best F1 (choose it on validation).

    None unless both labels occur.
    """
    if not _both(label):
        return None
    precision, recall, threshold = sk.precision_recall_curve(label, score, drop_intermediate=True)
    total = precision + recall
    value = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return float(threshold[np.argmax(value[:-1])])


def f1(label: Array, score: Array, threshold: float | None) -> float | None:
    """F1 of calling scores at and above ``threshold`` positive; None without a threshold or a positive label."""
    if threshold is None or not label.any():
        return None
    return float(sk.f1_score(label, score >= threshold))


def reliability(label: Array, score: Array, bins: int = ECE_BINS) -> Bins:
    """Cut the targets, sorted by score, into ``bins`` bins of equal mass.

    Equal scores share a bin, so that there may be fewer bins, and the order of the targets does not matter.
    """
    if not label.size:
        return Bins(np.empty(0), np.empty(0), np.empty(0, np.int64))
    order = np.argsort(score, kind="stable")
    rising = score[order].astype(np.float64)
    even = np.linspace(0, rising.size, bins, endpoint=False).astype(np.int64)
    first = np.unique(np.searchsorted(rising, rising[even], "left"))
    count = np.diff(first, append=rising.size)
    rate = np.add.reduceat(label[order].astype(np.float64), first) / count
    return Bins(np.add.reduceat(rising, first) / count, rate, count)


def ece(label: Array, score: Array, bins: int = ECE_BINS) -> float | None:
    """Expected calibration error: mean |positive rate - mean score| over bins of equal mass; None of no targets."""
    if not label.size:
        return None
    cut = reliability(label, score, bins)
    return float(np.average(np.abs(cut.rate - cut.score), weights=cut.count))
