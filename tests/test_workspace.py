import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dti import git
from dti import workspace as module
from dti.errors import DtiError
from dti.home import ROOT
from dti.workspace import SOURCES, Workspace, shared_cache

STOPS_IN_ORDER = """
import os, signal, sys, time
def stop(number, frame):
    print("stopping in order", flush=True)
    sys.exit(3)
signal.signal(signal.SIGINT, stop)
print("begun", flush=True)
time.sleep(60)
"""

LISTS_LOCKS = """
import os
places = {name: os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
print(*(name for name, place in places.items() if place.endswith("work.lock")))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """``fake(code)``: a workspace in which `python -m dvc` is a module with that code."""
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))

    def make(code):
        folder = tmp_path / "work"
        folder.mkdir()
        (folder / "dvc.py").write_text(code)
        return Workspace(folder)

    return make


def test_a_run_has_absolute_places_this_interpreter_and_a_log(fake, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DTI_HOME", "here")
    monkeypatch.setenv("DTI_ARCHIVES", "archives")
    names = ("DTI_HOME", "DTI_ARCHIVES", "OMP_NUM_THREADS")
    space = fake(f"import os, sys, shutil\nprint(sys.argv[1:], *map(os.environ.get, {names}), shutil.which('python'))")
    space.run(["pack", "train"], {"OMP_NUM_THREADS": "3"})
    python = shutil.which("python", path=str(Path(sys.executable).parent))
    expected = f"['repro', 'pack', 'train'] {tmp_path}/here {tmp_path}/archives 3 {python}\n"
    assert capsys.readouterr().out == space.log.read_text() == expected


def test_a_failed_run_names_its_log_and_a_second_one_adds_to_it(fake):
    space = fake("print('no'); raise SystemExit(7)")
    for _ in range(2):
        with pytest.raises(DtiError, match=r"`dvc repro train` ended with exit code 7; see .*/work/log.txt"):
            space.run(["train"])
    assert space.log.read_text() == "no\nno\n"


def test_a_reader_that_breaks_does_not_stop_the_pipeline(fake, capsys):
    seen = []

    def breaks(line):
        seen.append(line)
        raise ConnectionError("the screen is gone")

    space = fake("for line in range(20000): print(line)")  # more than a pipe holds
    space.run(["train"], tell=breaks)
    assert seen == ["0\n"]
    assert space.log.read_text().splitlines()[-1] == "19999"
    assert "none is any more: ConnectionError('the screen is gone')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///record.db", "sqlite:///{here}/record.db"),
        ("sqlite:////there/record.db", "sqlite:////there/record.db"),
        ("mlruns", "{here}/mlruns"),
        ("file:mlruns", "file:{here}/mlruns"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_a_relative_record_is_the_same_one_in_every_workspace(fake, monkeypatch, tmp_path, given, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    space = fake("import os\nprint(os.environ['MLFLOW_TRACKING_URI'])")
    space.run(["track"])
    assert space.log.read_text().strip() == expected.format(here=tmp_path)


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, as on a terminal; a process that a script starts with `&` ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def test_an_interrupt_waits_for_the_orderly_stop(fake, interruptible):
    space = fake(STOPS_IN_ORDER)
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        space.run(["train"])
    assert space.log.read_text() == "begun\nstopping in order\n"


def test_a_workspace_is_held_once_and_as_long_as_its_pipeline_runs(fake):
    """A killed runner's pipeline may still be at work; it has the lock, so that no other runner joins in."""
    space = fake(LISTS_LOCKS)
    with space.held() as mine:
        assert mine
        with Workspace(space.folder).held() as again:
            assert not again
        space.run(["train"])
        assert space.log.read_text().strip().isdigit()
    with Workspace(space.folder).held() as mine:
        assert mine


def test_the_cache_is_where_the_settings_say(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    assert shared_cache(tmp_path) == tmp_path / ".dvc/cache"
    (tmp_path / "user/config").write_text("[cache]\n    dir = /everybody's\n")
    assert shared_cache(tmp_path) == Path("/everybody's")
    (tmp_path / ".dvc/config.local").write_text("[cache]\n    dir = ../../elsewhere\n")
    assert shared_cache(tmp_path) == tmp_path.parent / "elsewhere"


def test_an_incomplete_project_is_refused(tmp_path, monkeypatch):
    root = tmp_path / "project"
    for name in SOURCES[1:-1]:
        module._copy(ROOT / name, root / name)
    with pytest.raises(DtiError, match="dti, .dvcignore: missing; run `python -m dti doctor --fix`"):
        Workspace(tmp_path / "work", root).make({})


def test_made_again_it_follows_the_sources_and_keeps_the_outputs(tmp_path):
    root = tmp_path / "project"
    for name in SOURCES:
        module._copy(ROOT / name, root / name)
    space = Workspace(tmp_path / "work", root)
    space.make({"a": 1})
    (space.folder / "data/packed").mkdir()
    (root / "dti/new.py").touch()
    (root / "dti/doctor.py").unlink()
    space.make({"a": 2})
    assert (space.folder / "dti/new.py").exists()
    assert not (space.folder / "dti/doctor.py").exists()
    assert (space.folder / "data/packed").is_dir()
    assert (space.folder / "params.yaml").read_text() == "a: 2\n"


def test_a_copy_says_which_commit_it_is_of(tmp_path):
    root, space = tmp_path / "project", Workspace(tmp_path / "work", tmp_path / "project", tmp_path / "cache")
    for name in SOURCES:
        place = root / name / "code.py" if name == "dti" else root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("# one\n")
    space.make({})
    assert git.code_of(space.folder) is None, "the project has no git"
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    space.make({})
    assert git.code_of(space.folder) == git.Code(git.commit_of(root), dirty=False)
    (root / "dti/code.py").write_text("# two\n")
    space.make({})
    assert git.code_of(space.folder) == git.Code(git.commit_of(root), dirty=True)
