"""What the flows of the UI do with the registry, without Prefect's server: a real MLflow, no scoring."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from dti.errors import DtiError
from dti.home import ROOT
from dti.params import load_params
from dti.registry import gate
from dti.registry.rule import Check
from dti.registry.versions import model_name, track
from flows.parameters import read_values
from flows.result import Result
from flows.sweep import Child, cells_of, register

MODEL = model_name("demo")
PROMOTE, ROLLBACK = (importlib.import_module(f"flows.{name}") for name in ("promote", "rollback"))


@pytest.fixture
def shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The artifacts by their keys."""
    found: dict[str, Any] = {}

    def keep(content: Any, key: str, description: str) -> None:
        found[key] = content

    for module in (PROMOTE, ROLLBACK):
        monkeypatch.setattr(module, "ROOT", project)
        monkeypatch.setattr(module, "create_markdown_artifact", keep)
    monkeypatch.setattr(PROMOTE, "create_table_artifact", keep)
    return found


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """``judged(True)``: from now on the rule's check holds."""

    def judge(holds: bool) -> None:
        check = Check("AUC", 0.75, 0.8, "-0.0500", "above", holds)
        reasons = [] if holds else ["AUC: -0.0500, but the rule asks for: above"]
        monkeypatch.setattr(gate, "_weigh", lambda *_: gate._Found([check], reasons, 10))

    return judge


def record(project: Path, auc: float) -> None:
    path = project / "reports/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auc": auc}))
    track(project, load_params())


def test_a_refusal_is_an_outcome_that_says_why(
    project: Path, store: MlflowClient, shown: dict[str, Any], judged: Callable[[bool], None]
) -> None:
    record(project, 0.7)
    judged(False)
    state = PROMOTE.promote.fn()
    assert (state.name, state.is_completed()) == ("Refused", True)
    assert state.message == "version 1: AUC: -0.0500, but the rule asks for: above"
    assert shown["checks"] == [
        {
            "check": "AUC",
            "this": "0.7500",
            "beside": "0.8000",
            "difference or gap": "-0.0500",
            "rule": "above",
            "holds": "NO",
        }
    ]
    assert "refused; against it:\n  AUC: -0.0500" in shown["decision"]
    assert "challenger: version 1" in shown["decision"]


def test_the_ways_to_the_champion_and_back(
    project: Path, store: MlflowClient, shown: dict[str, Any], judged: Callable[[bool], None]
) -> None:
    for auc in (0.7, 0.8):
        record(project, auc)
    judged(False)
    assert PROMOTE.promote.fn("demo", " 1 ", force=True).name == "Forced"
    with pytest.raises(DtiError, match="there is no previous champion to go back to"):
        ROLLBACK.rollback.fn()
    judged(True)
    promoted = PROMOTE.promote.fn()
    assert (promoted.name, promoted.message) == ("Promoted", "version 2: champion: version 2  previous: version 1")
    assert PROMOTE.promote.fn(version="champion").name == "Unchanged"
    back = ROLLBACK.rollback.fn("demo")
    assert (back.name, back.is_completed()) == ("Rolled back", True)
    assert back.message == f"{MODEL}: version 1 is champion again, in place of version 2"
    assert "champion: version 1  previous: version 2" in shown["rollback"]
    assert store.get_registered_model(MODEL).aliases == {"champion": 1, "previous": 2}


def test_a_model_that_is_not_there_is_named(project: Path, store: MlflowClient, shown: dict[str, Any]) -> None:
    with pytest.raises(DtiError, match="dti-ctr-ml-1m: no version is registered"):
        PROMOTE.promote.fn("ml-1m")
    with pytest.raises(DtiError, match="dti-ctr-ml-1m: no version is registered"):
        ROLLBACK.rollback.fn("ml-1m")
    assert not shown


@pytest.mark.parametrize("wanted", [True, False])
def test_the_winner_of_a_sweep_becomes_a_version_unless_that_is_unwanted(
    project: Path, store: MlflowClient, wanted: bool
) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("register: true", "register: false"))
    assert track(project, load_params())[1] is None
    (cell,) = cells_of(read_values(ROOT), "x", {"track": {"register": wanted}}, {})
    winner = Child(cell, Result({}, "run", "1", "link", project))
    for _ in range(2):
        said = register(winner)
    assert said == ("models:/dti-ctr-demo/1" if wanted else "none: `track.register` is false")
    assert len(store.search_model_versions()) == int(wanted)
