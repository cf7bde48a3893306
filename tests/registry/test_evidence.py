"""The requests that a version's test targets become."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from dti.errors import DtiError
from dti.registry.evidence import Evaluated, Reading, _read, requests_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def test(trained: Path) -> Evaluated:
    return _read(trained / "data", "1.dir")


def reading(**changes: object) -> Reading:
    return Reading(**({"n": 3, "labels": "label", "item": (), "profile": None} | changes))  # type: ignore[arg-type]


def test_a_target_becomes_its_users_last_interactions_and_itself(trained: Path, test: Evaluated) -> None:
    rows = pq.read_table(trained / "data/interim/interactions.parquet").to_pylist()
    targets = [at for at, row in enumerate(rows) if row["split"] == "test"]
    assert len(targets) == 24
    found = list(requests_of(test, np.array([0, 5, 23]), reading()))
    for request, at in zip(found, (targets[0], targets[5], targets[23]), strict=True):
        seen = [{"item_id": row["item_id"], "label": row["label"]} for row in rows[at - 3 : at]]
        assert request == {"history": seen, "candidates": [rows[at]["item_id"]]}
        assert {row["user_id"] for row in rows[at - 3 : at + 1]} == {rows[at]["user_id"]}
    json.dumps(found)
    assert [test.label[i] for i in (0, 5, 23)] == [rows[targets[i]]["label"] for i in (0, 5, 23)]


def test_a_history_does_not_reach_into_another_user(test: Evaluated) -> None:
    assert [len(request["history"]) for request in requests_of(test, np.array([0, 4]), reading(n=99))] == [10, 10]


def test_texts_come_along_where_the_version_may_not_know_an_item(test: Evaluated) -> None:
    (request,) = requests_of(test, np.array([0]), reading(item=("title", "brand")))
    ids = {one["item_id"] for one in request["history"]} | set(request["candidates"])
    assert request["items"].keys() == ids
    for item, fields in request["items"].items():
        odd = int(item[1:]) % 2
        assert fields == {"title": f"thing {item[1:]}", **({"brand": "acme"} if odd else {})}, "nulls stay away"


def test_what_a_version_reads_stands_in_its_parameters() -> None:
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    found = Reading.of(parameters, knows_items=False)
    assert found == Reading(20, "label", ["title", "brand", "genres"], None)
    assert Reading.of(parameters, knows_items=True).item == ()
    parameters["pack"] |= {"profile": True, "context_labels": "rating"}
    assert Reading.of(parameters, knows_items=True) == Reading(20, "rating", (), ["age", "region"])
    parameters["data"]["name"] = "ml-1m"
    found = Reading.of(parameters, knows_items=False)
    assert (found.item, found.profile) == (["title", "genres"], ["gender", "age", "occupation"]), "those of ml"


def test_ratings_are_asked_of_data_that_has_them(test: Evaluated) -> None:
    with pytest.raises(DtiError, match="the test targets have no rating, which the version reads"):
        next(requests_of(test, np.array([0]), reading(labels="rating")))


def test_scores_of_other_targets_are_refused(trained: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("interim", "scores"):
        (data / name).mkdir(parents=True)
        for file in (trained / "data" / name).iterdir():
            (data / name / file.name).write_bytes(file.read_bytes())
    scores = pq.read_table(data / "scores/test.parquet")
    pq.write_table(scores.slice(1), data / "scores/test.parquet")
    with pytest.raises(DtiError, match=r"interactions\.parquet differ in user_id"):
        _read(data, None)


def test_a_sample_is_always_the_same(test: Evaluated) -> None:
    few = test.sample(5)
    assert few.tolist() == sorted(set(few.tolist()))
    assert few.tolist() == test.sample(5).tolist() != list(range(5))
    assert test.sample(10**6).tolist() == list(range(24))
