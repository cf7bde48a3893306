import os
from collections import namedtuple

import pytest

from dti.errors import DtiError
from dti.workspace import Workspace
from flows import runs


@pytest.fixture
def made():
    """Five workspaces, the first the oldest."""
    for number in range(5):
        folder = runs.folder() / f"run-{number}"
        folder.mkdir(parents=True)
        (folder / "params.yaml").write_text("a: 1\n")
        os.utime(folder, (1000 + number, 1000 + number))
    return runs.folder()


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_the_newest_workspaces_stay(made):
    assert sorted(runs.prune(2)) == ["run-0", "run-1", "run-2"]
    assert left(made) == ["run-3", "run-4"]
    assert runs.prune(2) == []
    assert not list(made.glob("run-0*"))


def test_a_kept_workspace_counts_as_the_newest(made):
    runs.keep(made / "run-0")
    runs.keep(made / "removed by hand")
    assert sorted(runs.prune(2)) == ["run-1", "run-2", "run-3"]
    assert left(made) == ["run-0", "run-4"]


def test_a_workspace_that_runs_is_never_pruned(made):
    with Workspace(made / "run-0").held() as mine:
        assert mine
        assert sorted(runs.prune(0)) == ["run-1", "run-2", "run-3", "run-4"]
    assert left(made) == ["run-0"]


def test_a_run_prunes_what_is_old_and_holds_its_own(made, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", 2)
    with runs.workspace_of("new") as workspace:
        assert left(made) == ["new", "run-4"]
        with workspace.held() as again:
            assert not again


def test_a_run_whose_earlier_attempt_is_not_over_is_refused(made):
    message = "earlier attempt of this run is still ending"
    with Workspace(made / "run-0").held(), pytest.raises(DtiError, match=message), runs.workspace_of("run-0"):
        pass


def test_a_nearly_full_disk_stops_a_run_before_any_work(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda place: usage(1, 1, 2**30))
    message = r"only 1.0 GiB of disk are free, and a run needs 2 GiB; nothing was begun"
    with pytest.raises(DtiError, match=message), runs.workspace_of("new"):
        pass
    assert not (runs.folder() / "new").exists()
