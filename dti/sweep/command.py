"""`python -m dti sweep GRID.yaml`: many runs with chosen parameters, and the table that compares them."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import yaml

from dti.errors import DtiError
from dti.home import ROOT, home
from dti.params import load_params
from dti.sweep.grid import expand, load_grid
from dti.sweep.runner import Outcome, Sweep, run_cells

if TYPE_CHECKING:
    from dti.sweep.compare import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the grid file and what to do with it."""
    parser.add_argument("grid", type=Path, metavar="GRID.yaml", help="the grid file; see docs/formats.md")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: sweeps/NAME/results in DTI_HOME")
    parser.add_argument("--only", default="", metavar="TEXT", help="run the cells whose name contains this")
    parser.add_argument("--hours", type=float, metavar="H", help="begin no cell after this many hours")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="only print the cells and how far they are")
    what.add_argument("--table", action="store_true", help="only make the table and the plot")
    what.add_argument(
        "--baseline", metavar="CONFIGURATION", help="only print the table, with differences from this configuration"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the cells that have no result yet, then write and print the table of all results.

    Raises:
        DtiError: a wrong grid, results that do not fit it, or failed cells.
    """
    sweep = sweep_of(arguments.grid, arguments.results)
    if arguments.list:
        _list(sweep, arguments.only)
        return
    if arguments.baseline is not None:
        _print(sweep, arguments.baseline)
        return
    outcome = Outcome()
    if not arguments.table:
        if not any(arguments.only in cell.name for cell in sweep.cells):
            raise DtiError(f"--only {arguments.only!r}: no cell's name contains this; see --list")
        with _terminated_as_interrupted():
            outcome = run_cells(sweep, arguments.only, arguments.hours)
    _finish(sweep, outcome)


def sweep_of(file: Path, results: Path | None = None, root: Path = ROOT) -> Sweep:
    """The sweep that a grid file describes, on the parameters of the project in ``root``.

    Raises:
        DtiError: the grid or params.yaml is wrong.
    """
    grid, params = load_grid(file), root / "params.yaml"
    load_params(params)
    cells = expand(grid, yaml.safe_load(params.read_text()), str(file))
    work = home() / "sweeps" / grid.name
    return Sweep(grid, cells, work, (results or work / "results").resolve(), root)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and a lost terminal stop the pipeline in order, too, as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _list(sweep: Sweep, only: str) -> None:
    states = [(sweep.state_of(cell), cell.name) for cell in sweep.cells if only in cell.name]
    for state, name in states:
        print(f"{state:<9}  {name}")
    print(f"{sum(state == 'done' for state, _ in states)} of {len(states)} cells are done; results: {sweep.results}")


def _finish(sweep: Sweep, outcome: Outcome) -> None:
    """Table, plot, and a word on what did not run."""
    failed = "\n  ".join(f"{name}: {error}" for name, error in outcome.failed.items())
    try:
        _tabulate(sweep)
    except DtiError as error:
        failed = "\n  ".join(filter(None, [failed, f"no table: {error}"]))
    for names, why in ((outcome.taken, "are with another runner"), (outcome.left, "were not begun in time; run again")):
        if names:
            print(f"{len(names)} cells {why}")
    if failed:
        raise DtiError(f"failed cells: {len(outcome.failed)}\n  {failed}" if outcome.failed else failed)


def _tabulate(sweep: Sweep) -> None:
    from dti.sweep import plot, table  # matplotlib takes seconds; --list need not wait

    rows, text = _print(sweep)
    if not rows:
        return
    table.write_csv(sweep.results / "table.csv", rows)
    table.write_markdown(sweep.results / "table.md", text)
    plot.write_plot(sweep.results / "plot.png", rows)
    print(f"{sweep.results}/table.csv, table.md, plot.png")


def _print(sweep: Sweep, baseline: str | None = None) -> tuple[list["Row"], str]:
    """Print the table and the line below it, which are returned beside its rows."""
    from dti.evaluation.scores import SAMPLES
    from dti.sweep import compare, table

    base = compare.baseline_of(sweep.grid, sweep.cells, baseline)
    rows = compare.compare(sweep.cells, sweep.results, base)
    if not rows:
        print(f"no cell has a result in {sweep.results} yet")
        return rows, ""
    if baseline is not None and baseline not in [row.configuration for row in rows]:
        raise DtiError(f"--baseline {baseline!r}: none of its cells has a result in {sweep.results}")
    text = f"{table.markdown(rows)}\n\n{table.caption(base, SAMPLES)}\n"
    print(text, end="")
    return rows, text
