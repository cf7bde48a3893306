"""`python -m dti doctor`: whether the pipeline can run here, and what to do where it cannot.

DVC is told by ``core.no_scm`` that there is no git. Without it, DVC does not start in a plain copy, and in a copy
inside another project's git tree it would use that one. With it, DVC refuses experiments and diffs in a clone.
"""

import argparse
import configparser
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from dti import git
from dti.errors import DtiError
from dti.files import atomic_file
from dti.home import ROOT

PYTHON = (3, 11)

HIDDEN = {
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n    autostage = false\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvcignore": ".venv/\n.dti/\n__pycache__/\n",
}
"""DVC's files of this project as git has them: a copy that skips hidden names loses them."""


@dataclass(frozen=True)
class Finding:
    """What a check found: fine, or wrong with a remedy; ``fix`` does the remedy where the doctor can."""

    text: str
    fine: bool = True
    remedy: str = ""
    fix: Callable[[], None] | None = None


def check_python(root: Path) -> Finding:
    """Python 3.11, which the locked packages are made for."""
    text = "Python {}.{}.{}".format(*sys.version_info)
    return Finding(text, sys.version_info[:2] == PYTHON, "the packages are locked for Python 3.11: run `make env`")


def check_params(root: Path) -> Finding:
    """params.yaml is complete and valid."""
    try:
        from dti.params import load_params

        load_params(root / "params.yaml")
    except ImportError as error:
        return Finding(f"package {error.name} is missing", False, "run `make env`")
    except DtiError as error:
        return Finding(str(error), False, "correct params.yaml")
    return Finding("params.yaml is valid")


def check_dvc_files(root: Path) -> Finding:
    """DVC is installed, and its hidden files are there."""
    if find_spec("dvc") is None:
        return Finding("DVC is not installed", False, "run `make env`")
    missing = [name for name in HIDDEN if not (root / name).exists()]
    if missing:
        return Finding(
            f"{', '.join(missing)}: missing", False, "write them anew", partial(_write_hidden, root, missing)
        )
    return Finding("DVC is set up")


def check_git(root: Path) -> Finding:
    """DVC's idea of git is right: ``core.no_scm`` is set exactly where the project is no repository of its own."""
    own = git.is_own(root)
    if own != _no_scm(root):
        return Finding("a git repository" if own else "no git repository; DVC's experiments and diffs need one")
    text = "a git repository, which DVC is told to overlook" if own else "no git repository, which DVC must be told"
    command = ("config", "--local", "core.no_scm", "false" if own else "true")
    return Finding(text, False, f"dvc {' '.join(command)}", partial(_dvc, root, *command))


def check_disk(root: Path) -> Finding:
    """How much disk is free; nothing is demanded, as it depends on the data."""
    return Finding(f"{shutil.disk_usage(root).free / 2**30:.1f} GiB of disk are free")


CHECKS: tuple[Callable[[Path], Finding], ...] = (check_python, check_params, check_dvc_files, check_git, check_disk)


def _write_hidden(root: Path, names: list[str]) -> None:
    for name in names:
        with atomic_file(root / name) as partial_file:
            partial_file.write_text(HIDDEN[name])


def _no_scm(root: Path) -> bool:
    """What DVC's settings say about ``core.no_scm``; the local ones win."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    return settings.getboolean("core", "no_scm", fallback=False)


def _dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=False)  # the next check judges


def examine(root: Path, fix: bool) -> bool:
    """Run every check on the project's folder ``root``, print a line each, and repair what can be if ``fix``.

    Returns:
        Whether all is fine in the end.
    """
    healthy = True
    for check in CHECKS:
        finding = check(root)
        if fix and finding.fix:
            print(f"fixing {finding.text}: {finding.remedy}", flush=True)
            finding.fix()
            finding = check(root)
        print(
            f"{'ok   ' if finding.fine else 'WRONG'}  {finding.text}" + ("" if finding.fine else f": {finding.remedy}")
        )
        healthy &= finding.fine
    return healthy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--fix``."""
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired")


def run(arguments: argparse.Namespace) -> None:
    """Examine this project.

    Raises:
        DtiError: something is wrong and was not repaired.
    """
    if not examine(ROOT, arguments.fix):
        raise DtiError(
            "see the lines marked WRONG" + ("" if arguments.fix else "; `python -m dti doctor --fix` repairs some")
        )
