"""The flow `sweep`: a grid over any parameters, a run per cell, and the best by validation AUC."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import State, flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from dti.errors import DtiError
from dti.home import ROOT
from dti.params import load_params
from dti.sweep.grid import Cell, expand, flatten, parse_grid
from flows import runs
from flows.form import EMPTY, Form, GridForm
from flows.parameters import merged, read_values
from flows.pipeline import run_pipeline
from flows.result import Result, show

UNREGISTERED = {"track": {"register": False}}
"""What every cell has: a sweep makes one version, of its winner."""

UNTOUCHED = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Child:
    """A cell of the grid whose run has a result."""

    cell: Cell
    result: Result

    @property
    def valid_auc(self) -> float:
        """What the winner is chosen by: test data never chooses."""
        return float(self.result.metrics["valid_auc"])


def cells_of(base: Mapping[str, Any], name: str, params: Mapping[str, Any], over: Mapping[str, Any]) -> list[Cell]:
    """The cells of the form's grid, with the meaning that a grid file has.

    Raises:
        DtiError: names every wrong cell.
    """
    group = UNTOUCHED.sub("-", name).strip("-.") or "sweep"
    content = {
        "name": group,
        "threads": os.cpu_count() or 1,
        "groups": [{"name": group, "over": flatten(over)}],
    }
    return expand(parse_grid(content, "the form"), merged(base, params), "the form")


def winner_of(children: Sequence[Child]) -> Child | None:
    """The child with the best validation AUC; the first of several; None where no child has one."""
    known = [child for child in children if child.result.metrics["valid_auc"] is not None]
    return max(known, key=lambda child: child.valid_auc, default=None)


@flow(name="cell", persist_result=False)
def run_cell(cell: str, parameters: dict[str, Any]) -> Result:
    """One cell, as a run of its own below the sweep's."""
    run = str(flow_run.id)
    result = run_pipeline(parameters, run)
    show(result, run)
    return result


def _try(cell: Cell) -> Child | None:
    """Run a cell; None where it failed, which its own run tells."""
    named = run_cell.with_options(flow_run_name=cell.name)
    state: State[Result] = named(cell.name, merged(cell.parameters, UNREGISTERED), return_state=True)
    if not state.is_completed():
        get_run_logger().error("cell %s: %s: %s", cell.name, state.name, state.message)
        return None
    return Child(cell, state.result())


def _try_all(cells: Sequence[Cell]) -> list[Child]:
    """Run the cells one after the other; the workspace of the best so far stays, however many follow."""
    children: list[Child] = []
    for cell in cells:
        if best := winner_of(children):
            runs.keep(best.result.folder)
        if child := _try(cell):
            children.append(child)
    return children


def crown(name: str, winner: Child, children: Sequence[Child], failed: int) -> str:
    """Nest the children below a parent run in MLflow that names the winner.

    Args:
        failed: how many cells have no result.

    Returns:
        The link to the parent run.

    Raises:
        DtiError: MLflow cannot be reached.
    """
    from dti.registry.nesting import Nested, nest  # MLflow takes seconds to load

    nested = [
        Nested(child.result.run_id, child.cell.name, child.result.metrics["valid_auc"], dict(child.cell.changes))
        for child in children
    ]
    parent = nest(name, winner.result.experiment_id, nested, winner.result.run_id, failed)
    return winner.result.link_to(parent)


def register(winner: Child) -> str:
    """Make the winner's result a version, where the form and params.yaml do not say ``track.register: false``.

    Returns:
        The version, or why there is none.

    Raises:
        DtiError: the winner's workspace is gone, or MLflow cannot be reached.
    """
    if not winner.cell.parameters["track"]["register"]:
        return "none: `track.register` is false"
    from dti.registry.versions import register_result

    folder = winner.result.folder
    return register_result(folder, load_params(folder / "params.yaml")).uri


@flow(name="sweep", description="Try a grid over any parameters, one run per cell; the best by validation AUC wins.")
def sweep(params: Form = EMPTY, over: GridForm = EMPTY, name: str = "sweep") -> None:
    """Run every cell of the grid, one after the other; one that fails does not stop the others.

    Args:
        params: What all cells have; an empty field keeps the value of params.yaml.
        over: The values to try; the cells are all combinations. Several seeds: train.seed.
        name: What the sweep is called in MLflow.
    """
    cells = cells_of(read_values(ROOT), name, params, over)
    children = _try_all(cells)
    winner, failed = winner_of(children), len(cells) - len(children)
    rows = [_row(cell, children, winner) for cell in cells]
    create_table_artifact(rows, key="sweep", description="Every cell; the winner by validation AUC")
    if winner is None:
        raise DtiError("no cell of the sweep has a validation AUC; see the runs below this one")
    link = crown(name, winner, children, failed)
    create_markdown_artifact(
        f"# {name}: {winner.cell.name}\n\n- Its version in the registry: {register(winner)}\n"
        f"- [The sweep in MLflow]({link})\n- [The winner]({winner.result.link})",
        key="winner",
        description="The best cell by validation AUC, and its version",
    )
    if failed:
        raise DtiError(f"{failed} of {len(cells)} cells failed; the winner of the others is named")


def _row(cell: Cell, children: Sequence[Child], winner: Child | None) -> dict[str, Any]:
    found = next((child for child in children if child.cell is cell), None)
    metrics = found.result.metrics if found else {}
    scores = {"validation AUC": metrics.get("valid_auc"), "test AUC": metrics.get("auc")}
    return {"cell": cell.name, **scores, "outcome": "failed" if not found else "winner" if found is winner else "done"}
