"""`python -m dti clean`: free DVC's cache of what nothing needs: no run, no registered version, no experiment.

`dvc gc -w` alone would keep the present results only, and a version whose test targets and packed data are gone can be
neither compared nor rebuilt.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from dti import git
from dti.errors import DtiError
from dti.files import locked
from dti.home import ROOT, home
from dti.workspace import Workspace, in_use, shared_cache

WORKSPACES = ("runs/*", "sweeps/*/*", "reproduce/*", "champion/*")
"""Where workspaces are, below ``DTI_HOME``."""
NOT_RUN = "WARNING: Output '"
"""How DVC says that a stage has not run in a project: most sources are never fetched, a training was cancelled."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--dry`` and ``--outside``."""
    parser.add_argument("--dry", action="store_true", help="only say how much would be removed")
    parser.add_argument("--outside", action="store_true", help="clean a cache outside this folder: no other uses it")


def run(arguments: argparse.Namespace) -> None:
    """Clean this project's cache.

    Raises:
        DtiError: see `clean`.
    """
    clean(dry=arguments.dry, outside=arguments.outside)


def clean(root: Path = ROOT, *, dry: bool = False, outside: bool = False) -> None:
    """Remove from the cache what neither ``root``, a workspace, an experiment nor a registered version refers to.

    Args:
        dry: only say what would be removed.
        outside: the cache may lie outside ``root``.

    Raises:
        DtiError: a run goes on, the cache may be that of other projects, too, MLflow cannot be reached, or DVC
            refuses; nothing was removed.
    """
    cache = shared_cache(root)
    if not (outside or cache.is_relative_to(root.resolve())):
        raise DtiError(f"{cache}: DVC's cache is outside this project; if no other project uses it, add --outside")
    with ExitStack() as stack:
        if stack.enter_context(locked(in_use())) is None:
            raise DtiError("a run goes on; stop it, or wait for its end")
        workspaces = [space for space in _workspaces(root) if _hold(stack, space)]
        temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=home(), prefix="clean-"))
        folders = [root, *(space.folder for space in workspaces)]
        projects = [_stand_in(folder, Path(temporary) / str(n), root) for n, folder in enumerate(folders)]
        versions = list(_versions(Path(temporary), root))
        print(f"kept: the data of this folder, {len(workspaces)} workspaces and {len(versions)} versions", flush=True)
        _collect(root, [*projects, *versions], dry)


def _workspaces(root: Path) -> Iterator[Workspace]:
    for pattern in WORKSPACES:
        yield from (Workspace(path.parent, root) for path in sorted(home().glob(f"{pattern}/.dvc")))


def _hold(stack: ExitStack, workspace: Workspace) -> bool:
    """Keep a workspace from beginning a run, which might need what is removed; whether it names any data."""
    if stack.enter_context(locked(workspace.lock)) is None:  # by a training that outlived its run, if by any
        raise DtiError(f"{workspace.folder}: a run goes on there; stop it, or wait for its end")
    return any((workspace.folder / name).is_file() for name in ("dvc.lock", "data/dvc.lock"))


def _stand_in(folder: Path, project: Path, root: Path) -> Path:
    """A project that names the data of a folder's last run."""
    _configure(project, root, yaml.safe_load((folder / "params.yaml").read_text()))
    (project / "data").mkdir()
    for name in ("dvc.yaml", "dvc.lock", "data/dvc.yaml", "data/dvc.lock", "data/sources.yaml"):
        if (folder / name).is_file():
            shutil.copy2(folder / name, project / name)
    _name_all(project)
    return project


def _configure(project: Path, root: Path, parameters: Mapping[str, Any]) -> None:
    """Make a DVC project: a repository if ``root`` is one, as DVC looks for experiments in all projects or in none."""
    scm = git.is_own(root)
    Workspace(project, root).configure(parameters, scm=scm)
    if scm:
        git.init(project)


def _name_all(project: Path) -> None:
    """Let DVC keep what git keeps, too: its run cache restores a stage with all of its outputs or not at all."""
    for path in (project / "dvc.yaml", project / "data/dvc.yaml"):
        if path.is_file():
            path.write_text(path.read_text().replace("cache: false", "cache: true"))


def _versions(folder: Path, root: Path) -> Iterator[Path]:
    """A DVC project for each registered version that has a dvc.lock, which names its data."""
    from dti.registry.versions import all_origins  # MLflow takes seconds to load

    for number, origin in enumerate(all_origins()):
        if (origin.folder / "dvc.lock").is_file():
            project = folder / f"version {number}"
            _configure(project, root, origin.parameters)
            origin.restore(project)
            _name_all(project)
            yield project


def _collect(root: Path, projects: Sequence[Path], dry: bool) -> None:
    words = ["gc", "--workspace", "--force", *(["--dry"] if dry else [])]
    if git.is_own(root):
        words.append("--all-experiments")
    if projects:
        words += ["--projects", *map(str, projects)]
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, stderr=subprocess.PIPE, text=True)
    for line in done.stderr.splitlines():
        if not line.startswith(NOT_RUN):
            print(line, file=sys.stderr)
    if done.returncode:
        raise DtiError("`dvc gc` failed, see above; `python -m dti doctor` may know why")
