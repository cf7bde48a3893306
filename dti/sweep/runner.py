"""Runs the cells that have no result yet; killed or interrupted, it goes on where it was."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dti.errors import DtiError
from dti.home import ROOT
from dti.progress import clock
from dti.sweep.grid import Cell, Grid, filled
from dti.sweep.results import check_results, code_of, place_of, write_result
from dti.workspace import Workspace

TARGET = "evaluate"


class State(StrEnum):
    """How far a cell is."""

    DONE = "done"
    HALF_DONE = "half-done"
    TO_DO = "to do"


@dataclass(frozen=True)
class Sweep:
    """A grid's cells with their folders.

    Attributes:
        work: the folder of the workspaces, one per cell, while they run.
        results: the folder of the results.
        root: the project.
    """

    grid: Grid
    cells: Sequence[Cell]
    work: Path
    results: Path
    root: Path = ROOT

    def state_of(self, cell: Cell) -> State:
        """Whether the cell has its result, a workspace, or nothing."""
        if place_of(self.results, cell).is_file():
            return State.DONE
        return State.HALF_DONE if (self.work / cell.slug).exists() else State.TO_DO


@dataclass
class Outcome:
    """What a run of a sweep did, by cell name.

    Attributes:
        done: the cells that got their result.
        failed: what went wrong with the others.
        taken: cells that another runner holds.
        left: cells that there was no time for.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def run_cells(sweep: Sweep, only: str = "", hours: float | None = None) -> Outcome:
    """Run every cell without a result, one after the other; one that fails does not stop the others.

    Args:
        only: runs the cells whose name contains this.
        hours: no cell is begun later than this after the start.

    Raises:
        DtiError: a result in the folder has other parameters than the grid; nothing has run.
    """
    check_results(sweep.results, list(sweep.cells))
    outcome, began = Outcome(), time.monotonic()
    chosen = [cell for cell in sweep.cells if only in cell.name]
    for number, cell in enumerate(chosen, 1):
        if sweep.state_of(cell) is State.DONE:
            continue
        if hours is not None and time.monotonic() - began >= 3600 * hours:
            outcome.left.append(cell.name)
            continue
        print(f"--- cell {number} of {len(chosen)}: {cell.name}", flush=True)
        _try(sweep, cell, outcome)
    return outcome


def _try(sweep: Sweep, cell: Cell, outcome: Outcome) -> None:
    began = time.monotonic()
    workspace = Workspace(sweep.work / cell.slug, sweep.root)
    with workspace.held() as mine:
        if not mine:
            outcome.taken.append(cell.name)
            print("    another runner is at it", flush=True)
            return
        if sweep.state_of(cell) is State.DONE:  # by another runner, meanwhile
            return
        try:
            _run(sweep, cell, workspace)
        except DtiError as error:
            outcome.failed[cell.name] = str(error)
            print(f"    FAILED: {error}", flush=True)
        else:
            outcome.done.append(cell.name)
            print(f"    done in {clock(time.monotonic() - began)}", flush=True)


def _run(sweep: Sweep, cell: Cell, workspace: Workspace) -> None:
    code = code_of(sweep.root)
    workspace.make(filled(cell.parameters))
    workspace.run([TARGET], {"OMP_NUM_THREADS": str(sweep.grid.threads)})
    write_result(place_of(sweep.results, cell), sweep.grid, cell, workspace.folder, code)
    workspace.remove()
