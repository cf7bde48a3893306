"""`python -m dti clean`: free DVC's cache of what nothing needs: no run, no registered version, no experiment.

`dvc gc -w` alone would keep the present results only, and a version whose test targets and packed data are gone can be
neither compared nor rebuilt.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from dti import git
from dti.errors import DtiError
from dti.home import ROOT, home
from dti.workspace import Workspace

WORKSPACES = ("runs/*", "sweeps/*/*", "reproduce/*", "champion/*")
"""Where workspaces are, below ``DTI_HOME``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--dry``."""
    parser.add_argument("--dry", action="store_true", help="only say how much would be removed")


def run(arguments: argparse.Namespace) -> None:
    """Clean this project's cache.

    Raises:
        DtiError: see `clean`.
    """
    clean(dry=arguments.dry)


def clean(root: Path = ROOT, *, dry: bool = False) -> None:
    """Remove from the cache what neither ``root``, a workspace, an experiment nor a registered version refers to.

    Raises:
        DtiError: a run goes on, MLflow cannot be reached, or DVC refuses; nothing was removed.
    """
    with ExitStack() as stack:
        workspaces = [space for space in _workspaces(root) if _hold(stack, space)]
        temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=home(), prefix="clean-"))
        versions = list(_versions(Path(temporary), root))
        print(f"kept: the data of this folder, {len(workspaces)} workspaces and {len(versions)} versions", flush=True)
        _collect(root, [*(space.folder for space in workspaces), *versions], dry)


def _workspaces(root: Path) -> Iterator[Workspace]:
    for pattern in WORKSPACES:
        yield from (Workspace(path.parent, root) for path in sorted(home().glob(f"{pattern}/.dvc")))


def _hold(stack: ExitStack, workspace: Workspace) -> bool:
    """Keep a workspace from beginning a run, which might need what is removed; whether it names any data."""
    if not stack.enter_context(workspace.held()):
        raise DtiError(f"{workspace.folder}: a run goes on there; stop it, or wait for its end")
    return any((workspace.folder / name).is_file() for name in ("dvc.lock", "data/dvc.lock"))


def _versions(folder: Path, root: Path) -> Iterator[Path]:
    """A DVC project for each registered version that has a dvc.lock, which names its data."""
    from dti.registry.versions import all_origins  # MLflow takes seconds to load

    for number, origin in enumerate(all_origins()):
        workspace = Workspace(folder / str(number), root)
        if (origin.folder / "dvc.lock").is_file():
            workspace.configure(origin.parameters)
            origin.restore(workspace.folder)
            yield workspace.folder


def _collect(root: Path, projects: Sequence[Path], dry: bool) -> None:
    words = ["gc", "--workspace", "--force", *(["--dry"] if dry else [])]
    if git.is_own(root):
        words.append("--all-experiments")
    if projects:
        words += ["--projects", *map(str, projects)]
    if subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root).returncode:
        raise DtiError("`dvc gc` failed, see above; `python -m dti doctor` may know why")
