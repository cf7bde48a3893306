"""A record whose files lie on a server: what is fetched of them is little, and does not stay."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from dti.__main__ import parse
from dti.params import load_params
from dti.registry import gate
from dti.registry.champion import champion_folder
from dti.registry.gate import promote
from dti.registry.tracking import home, tracking_uri
from dti.registry.versions import all_origins, copies, find_version, model_name, open_version, track
from dti.score import run

MODEL = model_name("demo")


class Server(LocalArtifactRepository):
    """Keeps files in a local folder, but hands out copies only, as a server does."""

    fetched: ClassVar[list[str]] = []
    download_artifacts = ArtifactRepository.download_artifacts

    def __init__(self, artifact_uri: str, *arguments: object, **others: object) -> None:
        super().__init__(artifact_uri.replace("server:", "file:"))

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self.fetched.append(Path(remote_file_path).name)
        super()._download_file(remote_file_path, local_path)


@pytest.fixture
def remote(project: Path, store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A version on a server, champion; returns the folder for temporary files, which is empty."""
    known = artifact_repository_registry._artifact_repository_registry._registry
    monkeypatch.setitem(known, "server", Server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri())
    store.create_experiment(load_params().track.experiment, f"server://{tmp_path}/served")
    track(project, load_params())
    store.set_registered_model_alias(MODEL, "champion", "1")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    Server.fetched.clear()
    yield temporary
    shutil.rmtree(temporary)


def left(temporary: Path) -> list[Path]:
    """Weights outside the server."""
    return [file for folder in (temporary, home()) for file in folder.rglob("*.safetensors")]


def test_a_promotion_leaves_no_copy(remote: Path, store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hand = []

    def weigh(*_: object) -> gate._Found:
        at_hand.extend(left(remote))
        return gate._Found((), (), 0)

    monkeypatch.setattr(gate, "_weigh", weigh)
    store.delete_registered_model_alias(MODEL, "champion")
    assert promote(MODEL, load_params().promote).verdict == "promoted"
    assert len(at_hand) == 1
    assert (left(remote), list(remote.iterdir())) == ([], [])


def test_what_made_a_version_is_fetched_without_its_weights(remote: Path, project: Path) -> None:
    for origin in all_origins():
        assert (origin.folder / "params.yaml").is_file()
        assert origin.reports["metrics"]["auc"] == 0.75
    assert (champion_folder(load_params(), project) / "reports/metrics.json").is_file()
    assert "params.yaml" in Server.fetched
    assert "model.safetensors" not in Server.fetched
    assert list(remote.iterdir()) == []
    assert not list((home() / "mlflow").glob("copies-*"))


def test_scoring_leaves_no_copy(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hand: list[Path] = []

    def score(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        at_hand.extend(left(remote))
        assert Path(words[words.index("--model") + 1]).is_dir()
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", score)
    run(parse(["score", "--model", f"models:/{MODEL}@champion", "--input", "in.jsonl", "--output", "out.jsonl"]))
    assert len(at_hand) == 1
    assert (left(remote), list(remote.iterdir())) == ([], [])


def test_what_a_killed_process_fetched_goes_with_the_next_copies(store: MlflowClient) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    with copies() as folder:
        left = folder.with_name(f"copies-{killed.pid}-x")
        (left / "model").mkdir(parents=True)
        with copies() as other:
            assert (left.exists(), folder.exists(), other.exists()) == (False, True, True)


def test_two_versions_are_fetched_side_by_side(remote: Path, project: Path, store: MlflowClient) -> None:
    history = project / "reports/history.csv"
    history.write_text(history.read_text() + "3,240,240000,0.03,0.4,,\n")
    track(project, load_params())
    with copies() as folder:
        opened = [open_version(store, find_version(store, MODEL, number), folder) for number in ("1", "2")]
        lengths = [len((one.origin.folder / "reports/history.csv").read_text()) for one in opened]
    assert lengths[0] < lengths[1]


def test_files_at_hand_are_read_in_place(project: Path, store: MlflowClient) -> None:
    track(project, load_params())
    with copies() as folder:
        opened = open_version(store, find_version(store, MODEL), folder)
        assert not list(folder.iterdir())
        assert opened.files.is_relative_to(home() / "mlflow/artifacts")
