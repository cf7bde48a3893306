"""Classic models beside ours: what they are told of a target is what our probe may read of it."""

import numpy as np
import pytest

from benchmarks.rivals.features import Features
from benchmarks.rivals.models import NAMES, build, load_library, score, settings, train
from benchmarks.rivals.simple import NAMES as NAMES_OF_SIMPLE
from benchmarks.rivals.simple import simple
from dti.errors import DtiError
from dti.evaluation.baselines import baselines
from dti.prompts.pack import pack
from dti.prompts.store import Store

HISTORIES = [[(0, 1), (1, 0), (2, 1), (0, 0)], [(3, 1), (0, 1), (1, 1)]]
SPLITS = [["context", "train", "train", "test"], ["context", "train", "valid"]]
ITEMS = [{"title": f"t{n}", "genre": genre} for n, genre in enumerate(("a", "b", "a", None))]
TEMPLATE = {"item": "{title}, {genre}", "profile": "{age}"}
USERS = [{"age": "old"}, {"age": "young"}]


@pytest.fixture
def features(tmp_path, interim, params_for):
    def make(ratings=None, **changes):
        source = interim(tmp_path / "interim", HISTORIES, ITEMS, SPLITS, ratings, USERS)
        params = params_for(template=TEMPLATE, **({"n": 2, "k": 50, "profile": False} | changes))
        pack(params, source, tmp_path / "packed")
        return Features.of(Store.open(tmp_path / "packed"), source, params)

    return make


def test_a_target_comes_with_its_n_labelled_interactions(features):
    made = features()
    assert made.targets("train").tolist() == [1, 2, 5]
    assert made.targets("valid").tolist() == [6]
    assert made.targets("test").tolist() == [3]
    found = {name: column.tolist() for name, column in made.batch(np.array([1, 3, 6])).items()}
    one, two, three, new = 2, 3, 1, 4  # items 1, 2 and 0 are training targets, item 3 is none
    assert found["item"] == [[one], [three], [one]]
    assert found["hist_item"] == [[three, 0], [one, two], [new, three]]
    assert found["hist_mark"] == [[2, 0], [1, 2], [2, 2]]
    assert found["liked"] == [[three, 0], [0, two], [new, three]]
    assert found["disliked"] == [[0, 0], [one, 0], [0, 0]]
    assert found["length"] == [[1], [2], [2]]
    assert found["mark"] == [[3]] * 3
    assert found["user"] == [[1], [1], [2]]


def test_the_targets_own_label_is_nowhere(features):
    """Whatever a target's label, its inputs are the same."""
    before = features()
    rows = np.concatenate([before.targets(split) for split in ("train", "valid", "test")])
    for row in rows:
        expected = before.batch(np.array([row]))
        label = before.label_M.copy()
        mark = before.mark_M.copy()
        label[row], mark[row] = 1 - label[row], 3 - mark[row]
        changed = Features(**{**vars(before), "label_M": label, "mark_M": mark}).batch(np.array([row]))
        assert all(np.array_equal(expected[name], changed[name]) for name in expected)


def test_fields_are_those_of_the_templates(features):
    assert list(features().fields_M) == ["item_genre"]
    made = features(profile=True)
    assert list(made.fields_M) == ["item_genre", "user_age"]
    genre = made.fields_M["item_genre"].tolist()  # a a b, then what no training target has
    assert genre[0] == genre[2] == genre[3] == genre[5] != genre[1]
    assert genre[4] == max(genre) == made.sizes["item_genre"] - 1


def test_stars_are_marks_where_the_context_shows_them(features):
    ratings = [[5.0, 1.0, 4.0, 2.0], [4.0, 4.0, 5.0]]
    made = features(ratings, context_labels="rating")
    assert made.batch(np.array([3]))["hist_mark"].tolist() == [[1, 3]]
    assert made.batch(np.array([3]))["mark"].tolist() == [[5]]


def test_scores_stand_beside_labels_and_strictness(features):
    made = features()
    scored = made.scored(made.targets("train"), np.array([0.1, 0.2, 0.3]))
    assert scored.label.tolist() == [0, 1, 1]
    assert scored.strict.tolist() == [True] * 3
    assert (scored.user.tolist(), scored.item.tolist()) == ([0, 0, 1], [1, 2, 0])


def test_users_that_training_does_not_know_are_still_told_apart(features, monkeypatch):
    monkeypatch.setitem(globals(), "SPLITS", [["context", "train", "train", "test"], ["context", "test", "test"]])
    made = features()
    assert made.batch(made.targets("test"))["user"].tolist() == [[1], [2], [2]]
    assert made.scored(made.targets("test"), np.full(3, 0.5)).user.tolist() == [0, 1, 1]


def test_settings_are_distinct_and_begin_with_the_fixed_one():
    drawn = settings(12, seed=1, targets=100_000)
    assert len(set(drawn)) == 12
    assert settings(12, seed=1, targets=100_000) == drawn
    assert settings(1, seed=5, targets=100_000) == drawn[:1]


def test_an_epoch_of_a_small_set_has_steps_enough():
    assert {setting.batch for setting in settings(12, seed=1, targets=480)} == {30}
    assert {setting.batch for setting in settings(12, seed=1, targets=3)} == {16}


def test_popularity_and_regression_are_those_of_evaluate(features, monkeypatch):
    monkeypatch.setitem(globals(), "SPLITS", [["train", "train", "valid", "test"], ["train", "valid", "test"]])
    made = features()
    found = {one.model: one for one in simple(made, seed=1)}
    columns = (made.packed_user_M.astype(np.int32), made.packed_item_M.astype(np.int32), made.label_M, made.split_M)
    expected = baselines(*columns)
    assert list(found) == list(NAMES_OF_SIMPLE)
    assert found["popularity"].test.score.tolist() == expected["test"].popularity.tolist()
    assert found["logistic regression"].valid.score.tolist() == expected["valid"].regression.tolist()
    assert found["popularity"].test.label.tolist() == [0, 1]
    assert found["popularity"].parameters == 3  # the items of the three training targets


def installed() -> bool:
    try:
        load_library()
    except DtiError:
        return False
    return True


@pytest.mark.skipif(not installed(), reason="needs DeepCTR-Torch, which `make baselines` installs")
@pytest.mark.parametrize("name", NAMES)
def test_every_model_learns(features, name):
    made = features()
    setting = settings(1, 0, 3)[0]
    trained = train(name, made, setting, epochs=2, patience=2, seed=1)
    found = score(trained.model, made, made.targets("train"))
    assert found.shape == (3,)
    assert np.all((found > 0) & (found < 1))
    fresh = build(name, made, setting, 1)
    assert not np.array_equal(found, score(fresh, made, made.targets("train")))


@pytest.mark.skipif(not installed(), reason="needs DeepCTR-Torch, which `make baselines` installs")
def test_no_epoch_but_the_first_begins_when_time_is_over(features):
    setting = settings(1, 0, 3)[0]
    assert train("DeepFM", features(), setting, epochs=5, patience=5, seed=1, until=0.0).epochs == 1
