"""A candidate's score is its own: whoever else is asked for, in whatever order, in however many passes."""

import numpy as np
import pytest
import torch

from dti.attention.forgetting import Forgetting
from dti.model.adapter import load
from dti.serving.bundle import Bundle
from dti.serving.scorer import Scorer

KINDS = {
    "isolated": {},
    "isolated all": {"context": "all", "probe_position": "alibi"},
    "isolated rope": {"probe_position": "rope", "context": "all"},
    "window rope": {"policy": "window", "probe_position": "rope", "context": "all"},
    "window alibi label": {"policy": "window", "probe_position": "alibi"},
    "window reset": {"policy": "window", "context": "all", "forgetting": Forgetting("step", 0.5, "both")},
}
NEW = {f"n{i}": {"title": "old lamp " + "tall " * i} for i in range(4)}
HISTORY = [{"item_id": f"i{i}", "label": i % 2} for i in (1, 5, 2, 7)]
EVERY = [*(f"i{i}" for i in range(12)), *NEW]


def ask(scorer, candidates, history=HISTORY):
    known = {item["item_id"] for item in history} | set(candidates)
    items = {name: fields for name, fields in NEW.items() if name in known}
    return scorer.score([{"history": history, "candidates": candidates, "items": items}])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_others_and_their_order_change_nothing(project, kind):
    scorer = Scorer.open(project(**KINDS[kind]).write(), "cpu")
    every = dict(zip(EVERY, ask(scorer, EVERY), strict=True))
    assert np.ptp(list(every.values())) > 0.05
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 16):
        some = [EVERY[i] for i in rng.permutation(16)[:count]]
        np.testing.assert_allclose(ask(scorer, some), [every[item] for item in some], atol=1e-6)
    scorer.tokens_per_pass = 30
    np.testing.assert_allclose(ask(scorer, EVERY), list(every.values()), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_bitwise_blind_to_other_candidates(project, kind):
    """In float64: in float32 the matrix library sums rows of other shapes in another order."""
    folder = project(**KINDS[kind]).write()
    bundle = Bundle.open(folder)
    model, _ = load(bundle.adapter, "reference", torch.device("cpu"))
    scorer = Scorer(bundle, model.double())
    every = dict(zip(EVERY, ask(scorer, EVERY), strict=True))
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 5, 8, 16):
        some = [EVERY[i] for i in rng.permutation(16)[:count]]
        assert ask(scorer, some).tolist() == [every[item] for item in some]
    np.testing.assert_allclose(ask(Scorer.open(folder, "cpu"), EVERY), list(every.values()), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_n_interactions_count(project, kind):
    scorer = Scorer.open(project(**KINDS[kind]).write(), "cpu")
    tail = [*HISTORY, {"item_id": "i9", "label": 1}]
    earlier = [{"item_id": f"unheard of {i}", "label": 0} for i in range(1000)]
    np.testing.assert_array_equal(ask(scorer, EVERY, [*earlier, *tail]), ask(scorer, EVERY, tail))
    assert np.abs(ask(scorer, EVERY, tail) - ask(scorer, EVERY, tail[1:])).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_history_scores_by_text_alone(project, kind):
    scorer = Scorer.open(project(**KINDS[kind]).write(), "cpu")
    alone = ask(scorer, EVERY, [])
    assert np.isfinite(alone).all()
    mixed = scorer.score([{"history": h, "candidates": ["i3", "i4"]} for h in ([], HISTORY, [])])
    for found, history in zip(mixed, ([], HISTORY, []), strict=True):
        np.testing.assert_allclose(found, ask(scorer, ["i3", "i4"], history), atol=1e-6)


@pytest.mark.parametrize("kind", ["isolated", "window rope"])
def test_equal_candidates_get_equal_scores(project, kind):
    scorer = Scorer.open(project(**KINDS[kind]).write(), "cpu")
    scores = ask(scorer, ["i3", "i4", "i3", "n1", "i3", "n1"])
    assert scores[0] == scores[2] == scores[4]
    assert scores[3] == scores[5]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("kind", [{}, {"policy": "window", "context": "all"}, {"tuning": "lora", "content": "frozen"}])
def test_a_new_item_scores_as_a_known_one_with_its_text(project, kind):
    """Also when new texts are forgotten between two requests, and as context."""
    made = project(**kind)
    scorer = Scorer.open(made.write(), "cpu")
    text = made.texts[3]
    request = {"history": HISTORY, "candidates": ["i3", "copy"], "items": {"copy": text}}
    for _ in range(2):
        known, copy = scorer.score([request])[0]
        assert abs(known - copy) < 1e-6
        scorer._later_most = 0
    history = [{"item_id": "i3", "label": 1}, {"item_id": "i2", "label": 0}]
    renamed = [{"item_id": "copy", "label": 1}, {"item_id": "i2", "label": 0}]
    pair = [{"history": h, "candidates": ["i5"], "items": {"copy": text}} for h in (history, renamed)]
    np.testing.assert_allclose(*scorer.score(pair), atol=1e-6)


def test_the_states_of_a_catalogue_are_made_once(project, capsys):
    folder = project().write()
    scorers = [Scorer.open(folder, "cpu") for _ in range(2)]
    assert capsys.readouterr().err.count("catalogue:") == 1
    np.testing.assert_array_equal(*(ask(scorer, EVERY) for scorer in scorers))


def test_many_candidates_come_in_several_passes(project):
    scorer = Scorer.open(project().write(), "cpu")
    names = [f"m{i}" for i in range(10_000)]
    request = {"history": HISTORY, "candidates": names, "items": {n: {"title": f"lamp {n}"} for n in names}}
    scores = scorer.score([request])[0]
    assert scores.shape == (10_000,)
    again = scorer.score(
        [request | {"candidates": names[9_990:], "items": {n: {"title": f"lamp {n}"} for n in names[9_990:]}}]
    )
    np.testing.assert_allclose(again[0], scores[9_990:], atol=1e-6)
