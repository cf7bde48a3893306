"""`python -m dti clean`: a real DVC and a real MLflow; what a version needs stays, what nobody needs goes."""

import subprocess
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient

from dti.clean import clean
from dti.doctor import HIDDEN
from dti.errors import DtiError
from dti.files import locked
from dti.home import home
from dti.params import load_params
from dti.registry.versions import track
from dti.workspace import Workspace, in_use
from tests.registry.cache import cached, lock

SCORES = Path("data/scores/test.parquet")


@pytest.fixture(params=["a folder", "a repository"])
def shop(project: Path, store: MlflowClient, request: pytest.FixtureRequest) -> Path:
    """The project with DVC set up, one version, and newer scores that are none."""
    for name, text in HIDDEN.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n" if request.param == "a folder" else "")
    if request.param == "a repository":
        subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    lock(project)
    assert track(project, load_params())[1] is not None
    table = pq.read_table(project / SCORES)
    pq.write_table(table.slice(1), project / SCORES)
    lock(project)
    return project


def objects(project: Path) -> set[str]:
    return {path.parent.name + path.name for path in (project / ".dvc/cache/files/md5").glob("*/*")}


def test_what_a_version_or_this_folder_needs_stays_and_the_rest_goes(shop: Path) -> None:
    needed = objects(shop)
    assert len(needed) == 5, "a file and a folder's list of each scores, and a report that git keeps"
    stray = cached(shop, b"nobody needs this")
    clean(shop, dry=True)
    assert stray in objects(shop)
    clean(shop)
    assert objects(shop) == needed


def test_what_a_workspace_needs_stays(shop: Path) -> None:
    workspace = Workspace(home() / "runs" / "a run", shop)
    workspace.configure(yaml.safe_load((shop / "params.yaml").read_text()))
    for name in ("dvc.yaml", "dvc.lock"):
        (workspace.folder / name).write_bytes((shop / name).read_bytes())
    (shop / "dvc.lock").unlink()
    needed = objects(shop)
    clean(shop)
    assert objects(shop) == needed
    workspace.remove()
    clean(shop)
    assert len(objects(shop)) == 3, "those of the version"


def test_nothing_is_removed_while_a_run_goes_on(shop: Path) -> None:
    stray = cached(shop, b"a run may just have made this")
    workspace = Workspace(home() / "runs" / "a run", shop)
    workspace.configure({})
    with workspace.held(), pytest.raises(DtiError, match="a run goes on; stop it"):
        clean(shop)
    with locked(workspace.lock), pytest.raises(DtiError, match="a run: a run goes on there; stop it"):
        clean(shop)
    assert stray in objects(shop)


def test_a_run_waits_for_the_end_of_a_cleaning(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace, began = Workspace(home() / "runs" / "a run", shop), []

    def begin() -> None:
        with workspace.held():
            began.append(time.monotonic())

    with locked(in_use()):
        run = threading.Thread(target=begin)
        run.start()
        run.join(0.5)
        assert not began
    run.join(10)
    assert began
    assert "waiting for the end of a cleaning" in capsys.readouterr().out


def test_a_cache_that_others_may_use_is_cleaned_on_demand_alone(shop: Path, tmp_path: Path) -> None:
    stray = cached(shop, b"the data of another project")
    (shop / ".dvc/cache").rename(tmp_path / "everybody's")
    (shop / ".dvc/cache").symlink_to(tmp_path / "everybody's")
    with pytest.raises(DtiError, match="everybody's: DVC's cache is outside this project; .* add --outside"):
        clean(shop)
    assert stray in objects(shop)
    clean(shop, outside=True)
    assert stray not in objects(shop)


def test_nothing_is_removed_where_versions_cannot_be_asked(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = cached(shop, b"a version may need this")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(DtiError, match="did not answer"):
        clean(shop)
    assert stray in objects(shop)
