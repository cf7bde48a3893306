"""What a finished cell leaves: a JSON file with its reports, and the scores of its test targets."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti import git
from dti.errors import DtiError
from dti.files import atomic_file, read_json, write_json
from dti.params import flatten
from dti.sweep.grid import Cell, Grid
from dti.workspace import SOURCES

REPORTS = ("metrics", "train", "parity")
TOKENS = ("tokens_per_target", "sliding_tokens_per_target", "counted_ratio")
SCORES = Path("data/scores/test.parquet")
UNUSED = ("track.", "promote.")  # a sweep runs no stage that reads these parameters


@dataclass(frozen=True)
class Place:
    """Where a cell's result is: there once both files are."""

    report: Path
    scores: Path

    @property
    def done(self) -> bool:
        """Whether the cell has its result."""
        return self.report.is_file() and self.scores.is_file()


def place_of(results: Path, cell: Cell) -> Place:
    """Where the results folder keeps this cell's result."""
    return Place(results / f"{cell.slug}.json", results / f"{cell.slug}.parquet")


def code_of(root: Path) -> dict[str, Any]:
    """The commit of the project's code, and whether the code differs from it; both None without git."""
    commit = git.commit_of(root)
    return {"commit": commit, "dirty": None if commit is None else git.is_dirty(root, *SOURCES, "params.yaml")}


def write_result(place: Place, grid: Grid, cell: Cell, folder: Path, code: Mapping[str, Any]) -> None:
    """Keep what the pipeline left in ``folder``; the report, written last, says that all is there.

    Raises:
        DtiError: a report is missing, or the disk is full.
    """
    reports = {name: read_json(folder / "reports" / f"{name}.json") for name in REPORTS}
    pack = read_json(folder / "reports" / "pack.json")
    with atomic_file(place.scores) as partial:
        shutil.copyfile(folder / SCORES, partial)
    content = {
        "grid": grid.name,
        "cell": cell.name,
        "group": cell.group,
        "configuration": cell.configuration,
        "seed": cell.seed,
        "threads": grid.threads,
        "params": dict(cell.changes),
        "parameters": cell.parameters,
        "code": dict(code),
        **reports,
        "pack": {name: pack[name] for name in TOKENS},
    }
    write_json(place.report, content)


def read_result(place: Place, cell: Cell) -> dict[str, Any]:
    """The report of a cell that is done.

    Raises:
        DtiError: the file is no result, or that of other parameters.
    """
    content = read_json(place.report)
    try:
        found, wanted = flatten(content["parameters"]), flatten(cell.parameters)
    except (KeyError, TypeError, AttributeError):
        raise DtiError(f"{place.report}: not a result of a sweep; move it away") from None
    # A parameter that params.yaml got or lost since is no difference: its default keeps what was before.
    other = [k for k in sorted({*found} & {*wanted}) if found[k] != wanted[k] and not k.startswith(UNUSED)]
    if other:
        changes = ", ".join(f"{name} {found[name]!r}, now {wanted[name]!r}" for name in other)
        raise DtiError(
            f"{place.report}: the result of cell {cell.name!r} has other parameters ({changes}); "
            "move it away, or give the grid or the group another name"
        )
    return dict(content)


def check_results(results: Path, cells: list[Cell]) -> None:
    """Refuse a results folder with other parameters than the grid's.

    Raises:
        DtiError: names the first file.
    """
    for cell in cells:
        place = place_of(results, cell)
        if place.done:
            read_result(place, cell)
