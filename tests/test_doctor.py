import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dti import doctor
from dti.__main__ import COMMANDS, parse
from dti.errors import DtiError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A plain copy of what DVC needs, without git and without anyone's local settings."""
    folder = tmp_path / "outer" / "project"
    for name in (*doctor.HIDDEN, "params.yaml", "dvc.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def git_init(folder: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def dvc_works(folder: Path) -> bool:
    listed = subprocess.run([sys.executable, "-m", "dvc", "stage", "list"], cwd=folder, capture_output=True, text=True)
    return listed.returncode == 0 and "prepare" in listed.stdout


def local(folder: Path) -> str:
    path = folder / ".dvc/config.local"
    return path.read_text() if path.exists() else ""


def test_a_clone_needs_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git_init(copy)
    assert doctor.examine(copy, fix=True)
    assert local(copy) == ""
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(doctor.CHECKS)
    assert "GiB of disk are free" in lines[-1]


@pytest.mark.parametrize("outer_git", [False, True])
def test_a_plain_copy_is_told_to_dvc_and_a_clone_again(
    copy: Path, outer_git: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy inside another project's git tree is a plain copy, too."""
    if outer_git:
        git_init(copy.parent)
    assert not doctor.examine(copy, fix=False)
    assert "WRONG  no git repository, which DVC must be told: dvc config --local core.no_scm true" in (
        capsys.readouterr().out
    )
    assert doctor.examine(copy, fix=True)
    assert "no_scm = true" in local(copy)
    assert dvc_works(copy)
    assert doctor.examine(copy, fix=False)
    git_init(copy)
    assert not doctor.examine(copy, fix=False)
    assert doctor.examine(copy, fix=True)
    assert "no_scm = false" in local(copy)
    assert dvc_works(copy)


def test_the_users_own_settings_stay(copy: Path) -> None:
    (copy / ".dvc/config.local").write_text("[core]\n    remote = mine\n['remote \"mine\"']\n    url = /100%/store\n")
    assert doctor.examine(copy, fix=True)
    assert {"remote = mine", "url = /100%/store", "no_scm = true"} <= {
        line.strip() for line in local(copy).splitlines()
    }


def test_lost_hidden_files_are_written_anew(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / ".dvc")
    (copy / ".dvcignore").unlink()
    assert not doctor.examine(copy, fix=False)
    assert "WRONG  .dvc/config, .dvc/.gitignore, .dvcignore: missing" in capsys.readouterr().out
    assert doctor.examine(copy, fix=True)
    assert dvc_works(copy)


@pytest.mark.parametrize("name", doctor.HIDDEN)
def test_the_hidden_files_are_those_of_the_repository(name: str) -> None:
    assert doctor.HIDDEN[name] == (ROOT / name).read_text()


def test_wrong_params_are_named_and_not_repaired(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "params.yaml").write_text((copy / "params.yaml").read_text().replace("n: 20", "n: -1"))
    assert not doctor.examine(copy, fix=True)
    assert "pack.n: -1 is less than the minimum of 1" in capsys.readouterr().out


def test_another_python_and_a_missing_dvc_are_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON", (3, 99))
    assert "make env" in doctor.check_python(copy).remedy
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor.check_dvc_files(copy).text == "DVC is not installed"


def test_what_is_wrong_ends_with_an_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOT", copy)
    with pytest.raises(DtiError, match="doctor --fix"):
        doctor.run(argparse.Namespace(fix=False))
    doctor.run(argparse.Namespace(fix=True))


def test_the_doctor_is_light_and_commands_load_what_they_need() -> None:
    code = "import sys; from dti.__main__ import parse; parse(['doctor']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert {"torch", "mlflow", "dvc", "numpy"}.isdisjoint(loaded.split())


NEEDED = {
    "apply": ["RUN"],
    "reproduce": ["3"],
    "score": ["--model", ".", "--input", "requests.jsonl", "--output", "scores.jsonl"],
    "sweep": ["grid.yaml"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_parses_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(parse([name, *NEEDED.get(name, ())]).run)
    with pytest.raises(SystemExit, match="0"):
        parse([name, "--help"])
    assert COMMANDS[name][1] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", [[], ["unknown"], ["doctor", "--unknown"]])
def test_an_unknown_command_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(words)
