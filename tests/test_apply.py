"""A run's files come into the project's folder, and nothing of what was there is lost."""

import pytest
import yaml

from dti import apply as module
from dti.apply import apply_run
from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.home import ROOT
from dti.workspace import Workspace

LOCK = {
    "schema": "2.0",
    "stages": {"train": {"cmd": "new", "outs": [{"path": "models/adapter"}, {"path": "reports/train.json"}]}},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with results of its own, in a home with two runs; DVC is a stub that notes its calls."""
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"train": {"cmd": "old"}}}))
    (root / "data/dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"fetch@ml-1m": {"cmd": "kept"}}}))
    write_json(root / "reports/metrics.json", {"auc": 0.5})
    for name in ("abc-1", "abd-2"):
        folder = tmp_path / "home/runs" / name
        write_json(folder / "reports/metrics.json", {"auc": 0.9})
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        values["pack"]["k"] = 7
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        (folder / "dvc.lock").write_text(yaml.safe_dump(LOCK))
        (folder / "data").mkdir()
        fetched = {"schema": "2.0", "stages": {"fetch@demo": {"cmd": "new", "outs": [{"path": "data/raw/demo"}]}}}
        (folder / "data/dvc.lock").write_text(yaml.safe_dump(fetched))
    calls = []
    monkeypatch.setattr(module.subprocess, "run", lambda words, cwd: calls.append((words[2:], cwd)) or Done())
    return root, tmp_path / "home", calls


class Done:
    returncode = 0


def stages(path):
    return yaml.safe_load(path.read_text())["stages"]


def test_a_run_is_brought_into_the_folder(project):
    root, home, calls = project
    apply_run(home / "runs", "abc", root)
    text = (root / "params.yaml").read_text()
    assert yaml.safe_load(text)["pack"]["k"] == 7
    assert "# 1 = sliding window" in text, "comments stay"
    assert stages(root / "dvc.lock") == LOCK["stages"]
    assert list(stages(root / "data/dvc.lock")) == ["fetch@ml-1m", "fetch@demo"]
    assert read_json(root / "reports/metrics.json") == {"auc": 0.9}
    assert calls == [(["dvc", "checkout", "--force", "models/adapter", "data/raw/demo"], root)]


@pytest.mark.parametrize("own", [True, False])
def test_a_cell_of_a_sweep_does_not_turn_versions_off(project, own):
    root, home, _ = project
    for path, value in ((root / "params.yaml", own), (home / "runs/abc-1/params.yaml", not own)):
        values = yaml.safe_load(path.read_text())
        values["track"] |= {"register": value, "experiment": f"register {value}"}
        path.write_text(yaml.safe_dump(values))
    apply_run(home / "runs", "abc", root)
    expected = {"register": own, "experiment": f"register {not own}"}
    assert yaml.safe_load((root / "params.yaml").read_text())["track"] == expected


def test_what_was_there_is_kept(project):
    root, home, _ = project
    before = (root / "params.yaml").read_text()
    apply_run(home / "runs", "abc", root)
    assert (home / "before-apply/params.yaml").read_text() == before
    assert stages(home / "before-apply/dvc.lock") == {"train": {"cmd": "old"}}
    assert read_json(home / "before-apply/reports/metrics.json") == {"auc": 0.5}


@pytest.mark.parametrize(("run", "words"), [("ab", "2 runs begin like this"), ("x", "no such"), ("", "no such")])
def test_a_run_must_be_named_clearly(project, run, words):
    root, home, _ = project
    with pytest.raises(DtiError, match=words):
        apply_run(home / "runs", run, root)


def test_a_run_that_goes_on_or_has_no_result_is_refused(project):
    root, home, _ = project
    with Workspace(home / "runs/abc-1").held(), pytest.raises(DtiError, match="the run goes on"):
        apply_run(home / "runs", "abc", root)
    (home / "runs/abc-1/reports/metrics.json").unlink()
    before = (root / "params.yaml").read_text()
    with pytest.raises(DtiError, match="the run has no result"):
        apply_run(home / "runs", "abc", root)
    assert (root / "params.yaml").read_text() == before
