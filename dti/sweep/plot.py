"""The picture of a sweep: AUC and log loss against training hours, and against k."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from dti.files import atomic_file
from dti.sweep.compare import Row

Metric = Literal["auc", "log_loss"]
METRICS: dict[Metric, str] = {"auc": "test AUC, 95 % interval by user", "log_loss": "test log loss"}


def write_plot(path: Path, rows: Sequence[Row]) -> None:
    """Draw the configurations with an AUC as PNG: against mean training hours, and those that differ in k alone."""
    shown = [row for row in rows if row.auc is not None]
    figure = Figure(figsize=(13, 12), layout="constrained")
    grid = figure.subplots(2, 2)
    for (left, right), (metric, label) in zip(grid, METRICS.items(), strict=True):
        _against_hours(left, shown, metric)
        _against_k(right, _families(shown), metric)
        for axes in (left, right):
            axes.set_ylabel(label)
            axes.grid(alpha=0.3)
    for axes in grid[1]:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})


def _values(rows: Sequence[Row], metric: Metric) -> list[float]:
    return [getattr(row, metric) or 0.0 for row in rows]


def _bars(rows: Sequence[Row], metric: Metric) -> list[list[float]] | None:
    """Lengths of the AUC's error bars, down and up; the mean may lie outside an interval of few users."""
    if metric != "auc":
        return None
    low = [max(0.0, (row.auc or 0) - row.auc_low) if row.auc_low is not None else 0.0 for row in rows]
    high = [max(0.0, row.auc_high - (row.auc or 0)) if row.auc_high is not None else 0.0 for row in rows]
    return [low, high]


def _against_hours(axes: Axes, rows: Sequence[Row], metric: Metric) -> None:
    timed = [row for row in rows if row.training_hours]
    for place, row in enumerate(timed):
        marker = "osD^vP*X"[place // 10 % 8]  # colours repeat after ten
        bars = _bars([row], metric)
        axes.errorbar(
            [row.training_hours or 0.0], _values([row], metric), bars, fmt=marker, capsize=3, label=row.configuration
        )
    if timed:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="mean training hours", title="Quality against cost")


def _families(rows: Sequence[Row]) -> list[list[Row]]:
    """Configurations that differ in ``pack.k`` alone, by rising k; those without such a sibling are left out.

    Means over unlike numbers of seeds stand on no common line.
    """
    families: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        families.setdefault((row.family, row.seeds), []).append(row)
    return [sorted(family, key=lambda row: _rank(row.k)) for family in families.values() if len(family) > 1]


def _name(family: Sequence[Row]) -> str:
    """What its members are called, k aside."""
    words = [
        [word for word in row.configuration.split(" ") if not word.startswith(("k=", "pack.k="))] for row in family
    ]
    return ", ".join(dict.fromkeys(map(" ".join, words)))


def _rank(k: int | str) -> float:
    return float("inf") if isinstance(k, str) else k


def _against_k(axes: Axes, families: Sequence[Sequence[Row]], metric: Metric) -> None:
    ks = sorted({row.k for family in families for row in family}, key=_rank)
    for family in families:
        places = [ks.index(row.k) for row in family]
        axes.errorbar(places, _values(family, metric), _bars(family, metric), fmt="o-", capsize=3, label=_name(family))
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set(
        xlabel="k, targets per training prompt",
        title="Quality against k, of configurations that differ in nothing else",
    )
