import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from dti.evaluation.baselines import SMOOTHING, baselines, item_rate, running_rate

Store = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def stores(draw: st.DrawFn) -> Store:
    """Users contiguous, each with context, train, valid, test in turn."""
    rows = []
    for user in range(draw(st.integers(1, 6))):
        splits = sorted(draw(st.lists(st.integers(0, 3), min_size=1, max_size=12)))
        rows += [(user, draw(st.integers(0, 4)), draw(st.integers(0, 1)), split) for split in splits]
    user, item, label, split = zip(*rows, strict=True)
    return np.array(user, np.int32), np.array(item, np.int32), np.array(label, np.int8), np.array(split, np.int8)


def slow_features(store: Store, base: float) -> np.ndarray:
    """The two rates of every interaction, by looking at all others one by one."""
    user, item, label, split = store
    out = []
    for row in range(user.size):
        own = [label[r] for r in range(row) if user[r] == user[row]]
        same = [label[r] for r in range(user.size) if item[r] == item[row] and split[r] == 1]
        out.append([(sum(seen) + SMOOTHING * base) / (len(seen) + SMOOTHING) for seen in (own, same)])
    return np.array(out)


@settings(max_examples=50)
@given(stores())
def test_both_baselines_equal_a_slow_one(store: Store) -> None:
    _, _, label, split = store
    train = split == 1
    base = (label[train].sum() + 1) / (train.sum() + 2)
    rate = slow_features(store, base)
    odds = np.log(rate / (1 - rate))
    expected = np.full(label.size, base)
    if len(set(label[train])) == 2:
        expected = LogisticRegression().fit(odds[train], label[train]).predict_proba(odds)[:, 1]
    found = baselines(*store)
    for name, code in (("valid", 2), ("test", 3)):
        row = split == code
        assert found[name].label.tolist() == label[row].tolist()
        assert found[name].popularity == pytest.approx(rate[row, 1])
        assert found[name].regression == pytest.approx(expected[row], abs=1e-4)


def test_rates_drawn_by_hand() -> None:
    user = np.array([0, 0, 0, 4, 4], np.int32)
    label = np.array([1, 0, 1, 0, 1], np.int8)
    assert running_rate(user, label, base=0.5) == pytest.approx([0.5, 3.5 / 6, 3.5 / 7, 0.5, 2.5 / 6])
    item = np.array([2, 2, 7, 2, 7], np.int32)
    train = np.array([True, True, False, False, False])
    assert item_rate(item, label, train, base=0.5) == pytest.approx([3.5 / 7, 3.5 / 7, 0.5, 3.5 / 7, 0.5])


def test_labels_outside_training_reach_popularity_and_fit_in_no_way() -> None:
    """Flipping test labels changes no popularity, and the regression only through the histories of later targets."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(50, dtype=np.int32), 20)
    split = np.tile(np.array([0] * 5 + [1] * 11 + [2] * 2 + [3] * 2, np.int8), 50)
    item = rng.integers(0, 30, 1000).astype(np.int32)
    label = rng.integers(0, 2, 1000).astype(np.int8)
    one, other = (
        baselines(user, item, label, split),
        baselines(user, item, np.where(split == 3, 1 - label, label), split),
    )
    assert one["test"].popularity.tolist() == other["test"].popularity.tolist()
    assert one["valid"].regression.tolist() == other["valid"].regression.tolist()
    assert one["test"].regression[::2].tolist() == other["test"].regression[::2].tolist()
    assert (one["test"].regression[1::2] != other["test"].regression[1::2]).all()


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_to_score_gives_empty_arrays(rows: int) -> None:
    zero = np.zeros(rows, np.int32)
    found = baselines(zero, zero, zero.astype(np.int8), np.ones(rows, np.int8))
    assert all(values.size == 0 for split in found.values() for values in vars(split).values())
