"""Compares configurations over the seeds and test users that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dti.errors import DtiError
from dti.evaluation import metrics as m
from dti.evaluation.scores import Draws
from dti.sweep.grid import Cell, Grid, without
from dti.sweep.results import place_of, read_result


@dataclass(frozen=True)
class Row:
    """A configuration: means over its seeds, and 95 % intervals by user; None where a value is undefined.

    Attributes:
        k: ``pack.k``.
        family: a key that configurations share which differ in ``pack.k`` alone.
        auc_sd: standard deviation of the test AUC between seeds.
        difference: mean over the common seeds of the AUC minus the baseline's; None for the baseline itself.
        common_seeds: how many seeds the difference is taken over.
        tokens_per_target: what passes computed, as training counted it.
        parity_gap: the largest logit gap of any seed between one stream per user (k = all) and serving prompts.
    """

    configuration: str
    group: str
    k: int | str
    family: str
    seeds: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    auc_sd: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    common_seeds: int
    log_loss: float | None
    valid_auc: float | None
    training_hours: float | None
    targets_per_second: float | None
    tokens_per_target: float | None
    parity_gap: float | None


COLUMNS = tuple(field.name for field in fields(Row) if field.name != "family")


@dataclass(frozen=True)
class Scored:
    """A cell that is done: its report, the AUC of its test scores, and the AUC of each draw of test users."""

    cell: Cell
    report: Mapping[str, Any]
    auc: float | None
    draws: Draws


def _refuse_other(report: Mapping[str, Any], first: Mapping[str, Any], place: Path) -> None:
    if report["test"]["targets"] != first["test"]["targets"]:
        raise DtiError(
            f"{place}: cell {report['cell']!r} scores other test targets than cell {first['cell']!r} (users, items or "
            "labels), so they cannot be compared; put cells with other data parameters into a grid of their own"
        )


def compare(cells: Sequence[Cell], results: Path, base: str | None) -> list[Row]:
    """A row for every configuration with a result, in the order of the grid.

    Users are drawn once: every configuration and seed sees the same draws, so that differences are paired. A draw's
    AUC is the mean over seeds.

    Args:
        base: the configuration from which differences are taken.

    Raises:
        DtiError: a result is that of other parameters, or two cells have other test targets.
    """
    done = _scored(cells, results)
    by_name: dict[str, dict[int, Scored]] = {}
    for one in done:
        by_name.setdefault(one.cell.configuration, {})[one.cell.seed] = one
    beside = by_name.get(base, {}) if base is not None else {}
    return [_row(seeds, {} if name == base else beside) for name, seeds in by_name.items()]


def baseline_of(grid: Grid, cells: Sequence[Cell], name: str | None = None) -> str | None:
    """The configuration from which differences are taken: the first one of the grid's baseline, or the one named.

    Raises:
        DtiError: no configuration has this name.
    """
    if name is None:
        return next((cell.configuration for cell in cells if cell.group == grid.baseline), None)
    names = dict.fromkeys(cell.configuration for cell in cells)
    if name not in names:
        raise DtiError(f"--baseline {name!r}: no configuration has this name; there are {', '.join(names)}")
    return name


def _scored(cells: Sequence[Cell], results: Path) -> list[Scored]:
    places = [(cell, place_of(results, cell)) for cell in cells]
    found = [(cell, place, read_result(place, cell)) for cell, place in places if place.is_file()]
    scored: list[Scored] = []
    for cell, place, report in found:
        _refuse_other(report, found[0][2], place)
        test = report["test"]
        draws = test["draws"] or [None]  # results of earlier versions kept none
        scored.append(Scored(cell, report, test["auc"], np.array(draws, np.float64)))  # None becomes NaN
    return scored


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is missing."""
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found and len(found) == len(values) else None


def _interval(draws: Sequence[Draws]) -> tuple[float | None, float | None]:
    return m.interval(np.mean(np.broadcast_arrays(*draws), axis=0)) or (None, None)


def _differences(seeds: Mapping[int, Scored], beside: Mapping[int, Scored]) -> dict[str, Any]:
    common = sorted(seeds.keys() & beside.keys())
    pairs = [(seeds[seed], beside[seed]) for seed in common]
    gaps = [None if a.auc is None or b.auc is None else a.auc - b.auc for a, b in pairs]
    low, high = _interval([a.draws - b.draws for a, b in pairs]) if pairs else (None, None)
    return {
        "difference": _mean(gaps),
        "difference_low": low,
        "difference_high": high,
        "common_seeds": len(common),
    }


def _row(seeds: Mapping[int, Scored], beside: Mapping[int, Scored]) -> Row:
    runs = list(seeds.values())
    cell, aucs = runs[0].cell, [run.auc for run in runs]
    known = [value for value in aucs if value is not None]
    low, high = _interval([run.draws for run in runs])
    if low is None and len(runs) == 1:  # no draws are kept: the interval that evaluate drew
        low, high = (runs[0].report["metrics"].get(name) for name in ("auc_low", "auc_high"))
    gaps = [run.report["parity"]["max_abs_logit_gap"].get("all") for run in runs]

    def mean(report: str, name: str) -> float | None:
        return _mean([run.report[report][name] for run in runs])

    return Row(
        configuration=cell.configuration,
        group=cell.group,
        k=cell.parameters["pack"]["k"],
        family=without(cell.parameters, "pack.k", "train.seed"),
        seeds=len(runs),
        auc=_mean(aucs),
        auc_low=low,
        auc_high=high,
        auc_sd=float(np.std(known, ddof=1)) if len(known) > 1 else None,
        **_differences(seeds, beside),
        log_loss=mean("metrics", "log_loss"),
        valid_auc=mean("metrics", "valid_auc"),
        training_hours=mean("train", "training_hours"),
        targets_per_second=mean("train", "targets_per_second"),
        tokens_per_target=_mean(
            [run.report["train"]["train_tokens"] / run.report["train"]["train_targets"] for run in runs]
        ),
        parity_gap=max((gap for gap in gaps if gap is not None), default=None),
    )
