"""What a finished cell leaves: a JSON file with its reports, its AUC and the AUC of every draw of test users.

The draws make cells comparable, paired by user, wherever the file goes: it holds no user, item or label.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dti import git
from dti.errors import DtiError
from dti.files import atomic_file, read_json, write_json
from dti.params import NO_MATTER, flatten
from dti.sweep.grid import Cell, Grid
from dti.workspace import SOURCES

REPORTS = ("metrics", "train", "parity")
TOKENS = ("tokens_per_target", "sliding_tokens_per_target", "counted_ratio")
SCORES = Path("data/scores/test.parquet")
DIGITS = 6
"""Of the draws: far below what any interval shows."""


def place_of(results: Path, cell: Cell) -> Path:
    """Where the results folder keeps this cell's result."""
    return results / f"{cell.slug}.json"


def code_of(root: Path) -> dict[str, Any]:
    """The commit of the project's code, and whether the code differs from it; both None without git."""
    commit = git.commit_of(root)
    return {"commit": commit, "dirty": None if commit is None else git.is_dirty(root, *SOURCES, "params.yaml")}


def test_of(path: Path) -> dict[str, Any]:
    """What a file of test scores says: which targets it scores, their AUC, and the AUC of every draw of their users."""
    from dti.evaluation.scores import Scores  # scikit-learn takes seconds; --list need not wait

    scores = Scores.read(path)
    draws = [None if np.isnan(draw) else round(float(draw), DIGITS) for draw in scores.draws()]
    return {"targets": scores.digest(), "auc": scores.auc(), "draws": draws}


def write_result(place: Path, grid: Grid, cell: Cell, folder: Path, code: Mapping[str, Any]) -> None:
    """Keep what the pipeline left in ``folder``; the scores lie beside the report, for those who need more than AUC.

    Raises:
        DtiError: a report is missing, or the disk is full.
    """
    reports = {name: read_json(folder / "reports" / f"{name}.json") for name in REPORTS}
    pack = read_json(folder / "reports" / "pack.json")
    with atomic_file(place.with_suffix(".parquet")) as partial:
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
        "test": test_of(folder / SCORES),
    }
    write_json(place, content)


def read_result(place: Path, cell: Cell) -> dict[str, Any]:
    """The report of a cell that is done.

    Raises:
        DtiError: the file is no result, or that of other parameters.
    """
    content = read_json(place)
    try:
        found, wanted = flatten(content["parameters"]), flatten(cell.parameters)
    except (KeyError, TypeError, AttributeError):
        raise DtiError(f"{place}: not a result of a sweep; move it away") from None
    # What params.yaml got or lost since is no difference where the grid does not set it: its default keeps what was.
    compared = {*wanted} & ({*found} | {*flatten(cell.changes)})
    other = [k for k in sorted(compared) if found.get(k) != wanted[k] and not k.startswith(NO_MATTER)]
    if other:
        changes = ", ".join(f"{name} {found.get(name)!r}, now {wanted[name]!r}" for name in other)
        raise DtiError(
            f"{place}: the result of cell {cell.name!r} has other parameters ({changes}); "
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
        if place.is_file():
            read_result(place, cell)
