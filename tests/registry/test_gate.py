"""Promotion and rollback with a real MLflow; the scores that a promotion needs are made up."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from dti.errors import DtiError
from dti.params import load_params
from dti.registry import gate
from dti.registry.evidence import Evaluated
from dti.registry.gate import decision_table, promote, rollback, rollback_table
from dti.registry.rule import Decision
from dti.registry.versions import Opened, model_name, track

MODEL = model_name("demo")
QUALITY = {"1": 0.5, "2": 0.3, "3": 0.9, "4": 0.9}
"""How much of the truth each version sees."""


class World:
    """Evaluated targets, and what every version scores on them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(8)
        self.user = np.array([f"u{u}" for u in np.sort(rng.integers(50, size=1500))])
        self.truth, self.noise = rng.normal(0, 1.5, 1500), rng.normal(0, 1, 1500)
        self.label = (rng.random(1500) < 1 / (1 + np.exp(-self.truth))).astype(np.int8)
        self.trouble: DtiError | None = None
        self.scored: list[str] = []

    def scores(self, number: str) -> np.ndarray:
        share = QUALITY[number]
        return 1 / (1 + np.exp(-(share * self.truth + (1 - share) * self.noise)))

    @contextmanager
    def evaluated_targets(self, challenger: Opened) -> Iterator[Evaluated]:
        if self.trouble:
            raise self.trouble
        nothing: Any = None
        score = self.scores(challenger.version.number)
        yield Evaluated(self.user, self.label, score, np.arange(1500), nothing, None, {}, {})

    def served(self, model: Opened, test: Evaluated, chosen: np.ndarray) -> np.ndarray:
        self.scored.append(model.version.number)
        return self.scores(model.version.number)[chosen]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(gate, "evaluated_targets", made.evaluated_targets)
    monkeypatch.setattr(gate, "served_scores", made.served)
    return made


@pytest.fixture
def versions(project: Path, store: MlflowClient, world: World) -> Callable[..., None]:
    """``versions(count, **metrics)`` makes that many, which differ in metrics.json."""

    def make(count: int, **metrics: Any) -> None:
        path = project / "reports/metrics.json"
        for number in range(count):
            path.write_text(json.dumps(json.loads(path.read_text()) | metrics | {"auc_strict": number / 10}))
            track(project, load_params())

    return make


def decide(which: str | None = None, force: bool = False) -> Decision:
    return promote(MODEL, load_params().promote, which, force=force)


def aliases(store: MlflowClient) -> dict[str, str]:
    return {name: str(number) for name, number in store.get_registered_model(MODEL).aliases.items()}


def tags(store: MlflowClient, number: str) -> dict[str, str]:
    return dict(store.get_model_version(MODEL, number).tags)


def test_the_story_of_four_versions(versions: Callable[..., None], store: MlflowClient, world: World) -> None:
    versions(4)
    first = decide("1")
    assert (first.verdict, first.champion, aliases(store)) == ("promoted", None, {"champion": "1"})
    assert world.scored == ["1"], "without a champion only the challenger's own scores are verified"
    worse = decide("2")
    assert (worse.verdict, worse.promoted) == ("refused", False)
    assert aliases(store) == worse.aliases == {"champion": "1", "challenger": "2"}
    assert [check.name for check in worse.checks] == ["AUC", "log loss", "ECE", "parity gap", "served scores"]
    assert worse.reasons[0].startswith("AUC: -0.")
    better = decide("3")
    assert (better.verdict, better.champion, better.targets) == ("promoted", "1", 1500)
    assert aliases(store) == {"champion": "3", "previous": "1", "challenger": "2"}
    assert decide("3").verdict == "unchanged"
    assert decide().reasons == ["AUC: +0.0000 [+0.0000, +0.0000], but the rule asks for: interval above +0"], (
        "the newest is no better"
    )
    assert aliases(store) == {"champion": "3", "previous": "1", "challenger": "4"}
    assert tags(store, "2")["gate.decision"] == "refused"
    assert tags(store, "2")["gate.reasons"] == "; ".join(worse.reasons)
    assert json.loads(tags(store, "3")["gate.checks"])[0]["holds"] is True
    assert tags(store, "3")["gate.against"] == "1"


def test_a_first_model_worse_than_a_baseline_is_refused(versions: Callable[..., None], store: MlflowClient) -> None:
    versions(1, auc=0.64)
    decision = decide()
    assert (decision.verdict, aliases(store)) == ("refused", {"challenger": "1"})
    assert decision.reasons == ["AUC, logistic regression: -0.0100, but the rule asks for: above"]


def test_force_promotes_and_is_recorded(versions: Callable[..., None], store: MlflowClient) -> None:
    versions(2)
    assert decide("1", force=True).verdict == "promoted", "nothing had to be forced"
    forced = decide("2", force=True)
    assert (forced.verdict, forced.promoted) == ("forced", True)
    assert aliases(store) == {"champion": "2", "previous": "1"}
    assert tags(store, "2")["gate.decision"] == "forced"
    assert tags(store, "2")["gate.reasons"].startswith("AUC: -0.")
    assert "forced; against it:\n  AUC: -0." in decision_table(forced)


def test_what_cannot_be_compared_changes_nothing_unless_forced(
    versions: Callable[..., None], store: MlflowClient, world: World
) -> None:
    versions(1)
    world.trouble = DtiError("the cache is empty")
    with pytest.raises(DtiError, match="the cache is empty"):
        decide()
    assert (aliases(store), "gate.decision" in tags(store, "1")) == ({}, False)
    assert decide(force=True).reasons == ["not compared: the cache is empty"]
    assert aliases(store) == {"champion": "1"}


def test_served_scores_that_differ_are_refused(versions: Callable[..., None], world: World, monkeypatch: Any) -> None:
    versions(1)
    monkeypatch.setattr(gate, "served_scores", lambda model, test, chosen: world.scores("1")[chosen] + 1e-3)
    decision = decide()
    assert decision.verdict == "refused"
    assert decision.reasons == ["served scores: 1.0e-03 on 1,000, but the rule asks for: at most 1.0e-05"]


def test_rollback_swaps_and_a_second_one_swaps_back(versions: Callable[..., None], store: MlflowClient) -> None:
    versions(3)
    decide("1")
    with pytest.raises(DtiError, match="there is no previous champion to go back to"):
        rollback(MODEL)
    decide("3")
    decide("2")
    done = rollback(MODEL)
    assert (done.champion, done.previous) == ("1", "3")
    assert aliases(store) == {"champion": "1", "previous": "3", "challenger": "2"}
    assert rollback_table(done).startswith("dti-ctr-demo: version 1 is champion again, in place of version 3\n")
    assert (tags(store, "3")["gate.decision"], tags(store, "3")["gate.against"]) == ("rolled back", "1")
    rollback(MODEL)
    assert aliases(store) == {"champion": "3", "previous": "1", "challenger": "2"}


def test_two_promotions_at_once_come_one_after_the_other(
    versions: Callable[..., None], store: MlflowClient, world: World, monkeypatch: Any
) -> None:
    """The second one compares with the champion that the first has made."""
    versions(4)
    decide("1")
    begun, go_on, found = threading.Event(), threading.Event(), {}

    def slowly(model: Opened, test: Evaluated, chosen: np.ndarray) -> np.ndarray:
        begun.set()
        assert go_on.wait(60)
        return world.served(model, test, chosen)

    monkeypatch.setattr(gate, "served_scores", slowly)
    first = threading.Thread(target=lambda: found.update(first=decide("3")))
    second = threading.Thread(target=lambda: found.update(second=decide("4")))
    first.start()
    assert begun.wait(60)
    second.start()
    second.join(1)
    assert second.is_alive(), "it waits"
    go_on.set()
    first.join(60)
    second.join(60)
    assert (found["first"].verdict, found["first"].champion) == ("promoted", "1")
    assert (found["second"].verdict, found["second"].champion) == ("refused", "3")
    assert aliases(store) == {"champion": "3", "previous": "1", "challenger": "4"}
