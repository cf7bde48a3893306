"""The champion beside a run, and as the folder of a run: a real MLflow with SQLite, a real DVC."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from dti.errors import DtiError
from dti.params import load_params
from dti.registry.champion import champion_beside, champion_folder
from dti.registry.tracking import home
from dti.registry.versions import model_name, track
from dti.report.run import Run
from tests.registry.cache import lock

MODEL = model_name("demo")


def record(project: Path, crowned: MlflowClient | None = None, **metrics: object) -> str:
    """Track the results in the project, with other metrics; returns the run's id."""
    path = project / "reports/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | metrics))
    place, version = track(project, load_params())
    assert version is not None
    if crowned:
        crowned.set_registered_model_alias(MODEL, "champion", version.number)
    return place.run_id


def test_without_a_champion_there_is_nothing_to_show(project: Path, store: MlflowClient) -> None:
    assert champion_beside("any", "demo") is None
    with pytest.raises(DtiError, match="dti-ctr-demo: no version is registered; `dvc repro` with track.register"):
        champion_folder(load_params(), project)
    run = record(project)
    assert champion_beside(run, "demo") is None
    with pytest.raises(DtiError, match="dti-ctr-demo: no version is champion; `python -m dti promote` makes one"):
        champion_folder(load_params(), project)


def test_a_champion_is_shown_with_its_recorded_metrics(project: Path, store: MlflowClient) -> None:
    lock(project)
    record(project, store, auc=0.8)
    run = record(project, auc=0.7)
    found = champion_beside(run, "demo")
    assert found is not None
    assert (found.version, found.same_targets) == ("1", True)
    assert (found.metrics["auc"], found.metrics["gauc"]) == (0.8, 0.7)
    assert "f1" not in found.metrics, "it was null"
    lock(project, interim="2.dir")
    other = champion_beside(record(project, auc=0.6), "demo")
    assert other is not None
    assert not other.same_targets


def test_the_champion_is_the_folder_of_a_run_with_its_scores(project: Path, store: MlflowClient) -> None:
    lock(project)
    record(project, store, auc=0.8)
    record(project, auc=0.7)
    folder = champion_folder(load_params(), project)
    assert folder == home() / "champion" / MODEL
    run = Run.read(folder)
    assert run.metrics["auc"] == 0.8
    assert run.history["valid_auc"] == [0.7, None]
    assert run.parameters == yaml.safe_load((project / "params.yaml").read_text())
    assert run.scores is not None
    assert (folder / "data/scores/test.parquet").read_bytes() == (project / "data/scores/test.parquet").read_bytes()


def test_a_champion_whose_scores_are_lost_is_compared_without_them(
    project: Path, store: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(project)
    record(project, store)
    champion_folder(load_params(), project)
    shutil.rmtree(project / ".dvc/cache")
    run = Run.read(champion_folder(load_params(), project))
    assert run.scores is None
    assert "the champion's scores cannot be had any more: data/scores: not in DVC's cache" in capsys.readouterr().out
    assert run.metrics["auc"] == 0.75


def test_a_champion_made_without_dvc_has_no_scores(project: Path, store: MlflowClient) -> None:
    record(project, store)
    assert Run.read(champion_folder(load_params(), project)).scores is None
