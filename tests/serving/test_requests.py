"""What a request may be, and what is said of one that it may not be."""

import numpy as np
import pytest

from dti.errors import DtiError
from dti.serving.requests import CANDIDATES, LONGEST, parse_requests
from dti.serving.scorer import Scorer

GOOD = {"history": [{"item_id": "i1", "label": 1}], "candidates": ["i3", "i4"]}


def said(scorer, request):
    with pytest.raises(DtiError) as refused:
        scorer.score([GOOD, request])
    return str(refused.value)


FORM = {
    "no object": (3, "request 1: must be an object"),
    "no history": ({"candidates": ["i3"]}, "request 1: history: missing"),
    "history is text": (GOOD | {"history": "i1"}, "request 1: history: Input should be a valid list"),
    "id is a number": (GOOD | {"history": [{"item_id": 1, "label": 1}]}, "request 1: history[0].item_id: Input should"),
    "id is empty": (GOOD | {"candidates": ["i3", ""]}, "request 1: candidates[1]: String should have at least 1"),
    "label is text": (
        GOOD | {"history": [{"item_id": "i1", "label": "1"}]},
        "history[0].label: Input should be a valid",
    ),
    "label is true": (
        GOOD | {"history": [{"item_id": "i1", "label": True}]},
        "history[0].label: Input should be a valid",
    ),
    "label is missing": (GOOD | {"history": [{"item_id": "i1"}]}, "request 1: history[0].label: missing"),
    "label is NaN": (GOOD | {"history": [{"item_id": "i1", "label": float("nan")}]}, "label: Input should be a finite"),
    "label is infinite": (GOOD | {"history": [{"item_id": "i1", "label": float("inf")}]}, "should be a finite number"),
    "unknown key": (GOOD | {"user": "u1"}, "request 1: user: unknown key"),
    "no candidates": (GOOD | {"candidates": []}, "request 1: candidates: List should have at least 1 item"),
    "many candidates": (GOOD | {"candidates": ["i1"] * (CANDIDATES + 1)}, "at most 10000 items"),
    "long text": (GOOD | {"items": {"x": {"title": "a" * (LONGEST + 1)}}}, "items.x.title: String should have at most"),
    "field is a number": (GOOD | {"items": {"x": {"title": 3}}}, "request 1: items.x.title: Input should be a valid"),
}
MEANING = {
    "label is 2": (GOOD | {"history": [{"item_id": "i1", "label": 2}]}, "history[0].label: 2 is none of 0, 1"),
    "label is a half": (GOOD | {"history": [{"item_id": "i1", "label": 0.5}]}, "0.5 is none of 0, 1"),
    "unknown candidate": (GOOD | {"candidates": ["i3", "x"]}, "candidates[1]: item 'x' is not in the catalogue; give"),
    "unknown context": (GOOD | {"history": [{"item_id": "x", "label": 1}]}, "history[0].item_id: item 'x' is not in"),
    "no text": (GOOD | {"candidates": ["x"], "items": {"x": {}}}, "items.x: no text: all of title, brand are empty"),
    "blank text": (GOOD | {"candidates": ["x"], "items": {"x": {"title": "  ", "brand": None}}}, "items.x: no text"),
    "unknown field": (GOOD | {"items": {"x": {"name": "lamp"}}}, "items.x.name: unknown field; there are title, brand"),
    "profile": (GOOD | {"profile": {"age": "3"}}, "request 1: profile: this model reads no profiles; leave it out"),
}


@pytest.fixture
def scorer(project):
    """``scorer(**kind)``."""
    return lambda **kind: Scorer.open(project(**kind).write(), "cpu")


@pytest.mark.parametrize("case", FORM)
def test_a_request_of_another_form_is_refused(case):
    request, message = FORM[case]
    with pytest.raises(DtiError) as refused:
        parse_requests([GOOD, request])
    assert message in str(refused.value)
    assert str(refused.value).startswith("request 1")


def test_a_request_that_the_model_cannot_answer_is_refused_and_the_next_one_is_answered(scorer):
    asked = scorer()
    expected = asked.score([GOOD])[0]
    for request, message in MEANING.values():
        assert message in said(asked, request)
        assert said(asked, request).startswith("request 1: ")
    np.testing.assert_array_equal(asked.score([GOOD])[0], expected)


def test_many_mistakes_are_not_all_named():
    with pytest.raises(DtiError, match=r"candidates\[4\].* and 95 more$"):
        parse_requests([GOOD | {"candidates": [1] * 100}])


@pytest.mark.parametrize("content", [None, 3, "text", {"history": []}])
def test_what_is_no_list_is_refused(content):
    with pytest.raises(DtiError, match="list"):
        parse_requests(content)


def test_no_requests_have_no_scores(scorer):
    assert scorer().score([]) == []


def test_ratings_are_the_labels_of_a_model_that_reads_ratings(scorer):
    asked = scorer(ratings=True)
    rated = [GOOD | {"history": [{"item_id": "i1", "label": label}]} for label in (1, 4, 4.0)]
    low, high, same = asked.score(rated)
    assert np.abs(high - low).max() > 1e-3
    np.testing.assert_allclose(high, same, atol=1e-6)  # of another place in the pass
    message = said(asked, GOOD | {"history": [{"item_id": "i1", "label": 0}]})
    assert "history[0].label: 0 is none of 1, 2, 3, 4, 5" in message


def test_a_long_item_text_is_cut_as_packing_cuts_it(scorer):
    asked = scorer()
    texts = [" ".join(["lamp"] * count) for count in (64, 65, 500, 63)]
    items = {f"x{i}": {"title": text} for i, text in enumerate(texts)}
    scores = asked.score([GOOD | {"candidates": list(items), "items": items}])[0]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0] != scores[3]


def test_a_known_item_keeps_its_text(scorer):
    asked = scorer()
    given = GOOD | {"items": {"i3": {"title": "something else"}}}
    np.testing.assert_array_equal(asked.score([given])[0], asked.score([GOOD])[0])


def test_a_profile_counts_and_may_be_unknown(scorer):
    asked = scorer(profile=True)
    nothing, empty, young = asked.score([GOOD, GOOD | {"profile": {}}, GOOD | {"profile": {"age": "20"}}])
    np.testing.assert_array_equal(nothing, empty)
    assert np.abs(young - nothing).max() > 1e-4
    assert "profile.name: unknown field; there are age, town" in said(asked, GOOD | {"profile": {"name": "x"}})
