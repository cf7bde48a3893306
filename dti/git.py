"""The project's own git repository, where it is one; another project's around it does not count."""

import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dti.errors import DtiError
from dti.files import read_json

COPIED = "code.json"
"""In a copy of the project without git: the code that it was made from, as ``Code`` has it."""


@dataclass(frozen=True)
class Code:
    """The commit of some code, and whether the code differs from it."""

    commit: str
    dirty: bool


def code_of(folder: Path, *paths: str) -> Code | None:
    """The code of a repository, or of a workspace that was copied from one; None where there is no git.

    Args:
        paths: what counts as code in a repository; a workspace says what it was when it was copied.
    """
    commit = commit_of(folder)
    if commit is not None:
        return Code(commit, is_dirty(folder, *paths))
    return Code(**read_json(folder / COPIED)) if (folder / COPIED).is_file() else None


def is_own(folder: Path) -> bool:
    """Whether ``folder`` itself is the top of a git work tree (a clone, a linked work tree or a submodule)."""
    return (folder / ".git").exists()


def commit_of(folder: Path) -> str | None:
    """The commit checked out in ``folder``; None where it is no repository, has no commit, or git does not run."""
    return _git(folder, "rev-parse", "HEAD") if is_own(folder) else None


def is_dirty(folder: Path, *paths: str) -> bool:
    """Whether files below ``paths`` differ from the commit, new ones included."""
    return bool(_git(folder, "status", "--porcelain", "--", *paths))


def init(folder: Path) -> None:
    """Make the folder a repository without a commit.

    Raises:
        DtiError: git refuses or is not there.
    """
    if _git(folder, "init", "--quiet") is None:
        raise DtiError(f"{folder}: `git init` failed")


def export(folder: Path, commit: str, target: Path) -> None:
    """Write the files of a commit of the repository ``folder`` into the folder ``target``.

    Raises:
        DtiError: the repository does not have the commit.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as archive:
        words = ["git", "-C", str(folder), "archive", "--format=tar", commit]
        done = subprocess.run(words, stdout=archive, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise DtiError(f"{folder}: commit {commit} cannot be had from this repository: {done.stderr.strip()}")
        archive.seek(0)
        with tarfile.open(fileobj=archive) as files:
            files.extractall(target, filter="data")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
