"""Rebuilding versions: what is refused, and what is compared. The real rebuild is part of the story."""

import json
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dti import git
from dti.errors import DtiError
from dti.params import load_params
from dti.registry.rebuild import Line, Rebuilt, _compare, rebuild, rebuilt_table
from dti.registry.tracking import exclusive
from dti.registry.versions import find_version, model_name, open_version, track

MODEL = model_name("demo")


def commit(folder: Path) -> str:
    for words in (["init", "-q"], ["add", "dvc.yaml"], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True)
    return git.commit_of(folder) or ""


def test_a_version_made_outside_git_is_refused(project: Path, store: MlflowClient) -> None:
    track(project, load_params())
    with pytest.raises(DtiError, match="dti-ctr-demo version 1 was made outside git"):
        rebuild(MODEL, "1", project)


def test_a_version_of_uncommitted_code_is_refused(project: Path, store: MlflowClient) -> None:
    number = commit(project)
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text() + "# changed\n")
    track(project, load_params())
    with pytest.raises(DtiError, match=rf"made from uncommitted code \(on commit {number[:12]}\)"):
        rebuild(MODEL, None, project)


def test_a_commit_that_the_repository_lost_is_named(project: Path, store: MlflowClient, tmp_path: Path) -> None:
    number = commit(project)
    track(project, load_params())
    (tmp_path / "other").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "other", check=True)
    with pytest.raises(DtiError, match=f"commit {number} cannot be had from this repository"):
        rebuild(MODEL, "1", tmp_path / "other")


def test_a_version_made_without_dvc_is_refused(project: Path, store: MlflowClient) -> None:
    commit(project)
    track(project, load_params())
    with pytest.raises(DtiError, match=r"this version has no dvc\.lock"):
        rebuild(MODEL, "1", project)


def test_a_commit_is_exported_as_it_was(project: Path, tmp_path: Path) -> None:
    number = commit(project)
    before = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text("changed")
    git.export(project, number, tmp_path / "out")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"dvc.yaml": before}


def test_all_metrics_but_times_are_compared(project: Path, store: MlflowClient) -> None:
    track(project, load_params())
    with exclusive() as client:
        opened = open_version(client, find_version(client, MODEL), Path())
    path = project / "reports/metrics.json"
    times = {"training_hours": 9.0, "targets_per_second": 1.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | times))
    same = _compare(opened, project)
    assert (same.equal, same.same_weights) == (True, True)
    names = [line.name for line in same.lines]
    assert {"auc", "log_loss", "f1", "parity/max_abs_logit_gap/all"} <= {*names}
    assert not {"training_hours", "targets_per_second"} & {*names}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auc": 0.75000001}))
    (project / "models/adapter/model.safetensors").write_bytes(b"other")
    other = _compare(opened, project)
    assert [line.name for line in other.lines if not line.equal] == ["auc"]
    assert (other.equal, other.same_weights) == (False, False)


def test_the_table_shows_both_runs() -> None:
    text = rebuilt_table(Rebuilt("m version 1", [Line("auc", 0.5, 0.5), Line("f1", None, 0.1)], True, Path()))
    assert "auc     0.5      0.5    yes" in text
    assert "f1      -        0.1    NO" in text
    assert text.endswith("weights: equal, byte by byte")
