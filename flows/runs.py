"""The workspaces of runs, below ``DTI_HOME/runs``: made, found again, and pruned."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dti.errors import DtiError
from dti.home import home
from dti.workspace import Workspace

KEPT = 20
"""So many of the newest workspaces stay."""

NEEDED = 2 * 2**30
"""Bytes that must be free before a run starts; a larger data set may need more."""


def folder() -> Path:
    """Where the workspaces are."""
    return home() / "runs"


@contextmanager
def workspace_of(run: str) -> Iterator[Workspace]:
    """The workspace of a run by its id, held as long as the run goes on.

    Raises:
        DtiError: another process holds it, or the disk is nearly full.
    """
    workspace = Workspace(folder() / run)
    refuse_full_disk(folder(), workspace.cache)
    with workspace.held() as mine:
        if not mine:
            raise DtiError(f"{workspace.folder}: an earlier attempt of this run is still ending; try again")
        workspace.folder.mkdir(parents=True, exist_ok=True)
        prune(KEPT)
        yield workspace


def refuse_full_disk(*places: Path) -> None:
    """Stop before any work where it could not be finished.

    Raises:
        DtiError: one of the places has too little free space.
    """
    for place in places:
        there = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < NEEDED:
            raise DtiError(
                f"{place}: only {free / 2**30:.1f} GiB of disk are free, and a run needs {NEEDED / 2**30:.0f} GiB; "
                "nothing was begun. Free space and run again"
            )


def keep(workspace: Path) -> None:
    """Count a workspace as the newest, so that it outlives the next prunings."""
    with suppress(FileNotFoundError):  # somebody has removed it; what needs it says so
        os.utime(workspace)


def prune(kept: int) -> list[str]:
    """Remove all but the newest workspaces; one that runs always stays.

    Args:
        kept: how many stay.

    Returns:
        The ids of those removed.
    """
    found = sorted((path for path in folder().iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime)
    removed = []
    for path in found[kept:]:
        workspace = Workspace(path)
        with workspace.held() as mine:
            if mine:
                workspace.remove()
                path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
                removed.append(path.name)
    return removed
