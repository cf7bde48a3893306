from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from dti.errors import DtiError
from dti.evaluation import metrics as m

Targets = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def targets(draw: Any, least: int = 0) -> Targets:
    """Random labels, scores with many ties, and users."""
    rows = st.tuples(st.integers(0, 1), st.integers(0, 10), st.integers(0, 4))
    label, score, user = zip(*draw(st.lists(rows, min_size=max(least, 1), max_size=60)), strict=True)
    return np.array(label, np.int8), np.array(score) / 10, np.array(user, np.int32)


def both(label: np.ndarray) -> bool:
    return label.min() != label.max()


def pairwise_auc(label: np.ndarray, score: np.ndarray) -> float:
    """The definition: the share of (positive, negative) pairs in the right order, ties counting half."""
    gap = score[label == 1][:, None] - score[label == 0][None, :]
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


@given(targets())
def test_auc_is_its_definition(drawn: Targets) -> None:
    label, score, _ = drawn
    found = m.auc(label, score)
    assert found == (pytest.approx(pairwise_auc(label, score)) if both(label) else None)


@given(targets())
def test_gauc_is_the_weighted_mean_over_users(drawn: Targets) -> None:
    label, score, user = drawn
    parts = [(label[user == u], score[user == u]) for u in np.unique(user)]
    parts = [(one, s) for one, s in parts if both(one)]
    expected = np.average([pairwise_auc(*p) for p in parts], weights=[p[0].size for p in parts]) if parts else None
    assert m.gauc(label, score, user) == (pytest.approx(expected) if parts else None)


@settings(max_examples=30)
@given(targets(least=10), st.integers(0, 1000))
def test_the_interval_equals_naive_resampling_of_users(drawn: Targets, seed: int) -> None:
    label, score, user = drawn
    _, index = np.unique(user, return_inverse=True)
    users = index.max() + 1
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(20):
        rows = np.concatenate([np.flatnonzero(index == u) for u in rng.integers(users, size=users)])
        if both(label[rows]):
            draws.append(roc_auc_score(label[rows], score[rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "LEAST_USERS", 1)
        found = m.auc_interval(label, score, user, samples=20, seed=seed)
    assert found == (pytest.approx(tuple(np.quantile(draws, [0.025, 0.975]))) if draws else None)


def test_the_interval_repeats_with_its_seed_and_holds_auc() -> None:
    rng = np.random.default_rng(0)
    user = rng.integers(0, 200, 4000)
    score = rng.random(4000)
    label = (rng.random(4000) < score).astype(np.int8)
    low, high = m.auc_interval(label, score, user, 300, seed=1) or (None, None)
    assert (low, high) == m.auc_interval(label, score, user, 300, seed=1)
    assert (low, high) != m.auc_interval(label, score, user, 300, seed=2)
    value = m.auc(label, score)
    assert low is not None
    assert value is not None
    assert value - 0.03 < low < value < high < value + 0.03


@pytest.mark.parametrize(("users", "enough"), [(1, False), (m.LEAST_USERS - 1, False), (m.LEAST_USERS, True)])
def test_few_users_have_no_interval(users: int, enough: bool) -> None:
    rng = np.random.default_rng(7)
    user, label, score = np.arange(300) % users, rng.integers(2, size=300), rng.random(300)
    assert m.auc(label, score) is not None
    assert (m.auc_interval(label, score, user, 10, 0) is not None) == enough
    assert np.isnan(m.gauc_draws(label, score, user, 10, 0)).any() != enough


@given(targets())
def test_the_best_threshold_beats_every_other(drawn: Targets) -> None:
    label, score, _ = drawn
    threshold = m.best_f1_threshold(label, score)
    if not both(label):
        assert threshold is None
        return
    best = max(f1_score(label, score >= t, zero_division=0) for t in np.unique(score))
    assert m.f1(label, score, threshold) == pytest.approx(best)


@given(targets())
def test_log_loss_is_the_mean_cross_entropy(drawn: Targets) -> None:
    label, score, _ = drawn
    inside = np.clip(score, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    expected = -np.mean(np.where(label == 1, np.log(inside), np.log(1 - inside)))
    assert m.log_loss(label, score) == pytest.approx(expected)


@given(targets(), st.integers(1, 20))
def test_reliability_bins_hold_every_target_once_and_keep_ties_together(drawn: Targets, bins: int) -> None:
    label, score, _ = drawn
    cut = m.reliability(label, score, bins)
    assert len(cut.count) <= bins
    assert cut.count.sum() == label.size
    assert (cut.rate * cut.count).sum() == pytest.approx(label.sum())
    assert (cut.score * cut.count).sum() == pytest.approx(score.sum())
    bounds = np.searchsorted(np.sort(score), np.sort(score)[np.cumsum(cut.count)[:-1]])
    assert bounds.tolist() == np.cumsum(cut.count)[:-1].tolist()
    assert m.ece(label, score, bins) == pytest.approx(np.average(np.abs(cut.rate - cut.score), weights=cut.count))


def test_bins_have_equal_mass() -> None:
    score = np.random.default_rng(0).random(1500)
    assert m.reliability(np.zeros(1500), score, 15).count.tolist() == [100] * 15


def test_ece_of_known_cases() -> None:
    label = np.array([0, 1, 1, 1])
    assert m.ece(label, np.full(4, 0.75)) == 0, "equal scores are one bin, whatever the order of labels"
    assert m.ece(label, np.full(4, 0.25)) == 0.5
    assert m.ece(label, np.array([0.0, 1, 1, 1])) == 0


def test_strict_looks_at_the_marked_targets_only() -> None:
    label, score = np.array([0, 1, 0, 1]), np.array([0.9, 0.1, 0.2, 0.8])
    assert m.auc_strict(label, score, np.array([False, False, True, True])) == 1
    assert m.auc_strict(label, score, np.array([False, True, False, False])) is None


@pytest.mark.parametrize("label", [[], [0, 0, 0], [1, 1, 1]])
def test_what_is_undefined_is_none(label: list[int]) -> None:
    known, score, user = np.array(label, np.int8), np.linspace(0, 1, 5)[1 : 1 + len(label)], np.arange(len(label))
    assert m.auc(known, score) is None
    assert m.gauc(known, score, user) is None
    assert m.auc_interval(known, score, user, 10, 0) is None
    assert m.auc_strict(known, score, np.ones(len(label), bool)) is None
    assert m.best_f1_threshold(known, score) is None
    assert (m.f1(known, score, 0.1) is None) == (sum(label) == 0)
    assert m.f1(known, score, None) is None
    assert (m.log_loss(known, score) is None) == (m.ece(known, score) is None) == (not label)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
def test_scores_that_are_no_probabilities_are_refused(wrong: float) -> None:
    zero = np.zeros(3, np.int64)
    with pytest.raises(DtiError, match=r"1 of 3 scores are no probabilities.*train\.learning_rate"):
        m.ScoredSplit(zero, zero, zero, np.array([0.5, wrong, 0.5]), zero, zero > 0)


def test_draws_of_gauc_take_the_same_users_as_those_of_auc() -> None:
    rng = np.random.default_rng(3)
    user, label = rng.integers(12, size=300), rng.integers(2, size=300)
    score = np.round(rng.random(300), 2)
    label[user == 4] = 1  # no AUC of its own: weighs nothing
    found = m.gauc_draws(label, score, user, 20, seed=5)
    draw = np.random.default_rng(5)
    for value in found:
        drawn = draw.integers(12, size=12)
        rows = np.concatenate([np.flatnonzero(user == one) for one in drawn])
        copies = np.concatenate([np.full((user == one).sum(), place) for place, one in enumerate(drawn)])
        assert value == pytest.approx(m.gauc(label[rows], score[rows], copies))
    assert np.isnan(m.gauc_draws(np.ones(4), np.ones(4), np.arange(4), 2, 0)).all()
    assert m.gauc_draws(np.empty(0), np.empty(0), np.empty(0), 2, 0).shape == (2,)
