"""The picture of a sweep: AUC against training hours, and against k."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dti.files import atomic_file
from dti.sweep.compare import Row


def write_plot(path: Path, rows: Sequence[Row]) -> None:
    """Draw the configurations with an AUC as PNG: against mean training hours, and those that differ in k alone."""
    shown = [row for row in rows if row.auc is not None]
    figure = Figure(figsize=(13, 7), layout="constrained")
    left, right = figure.subplots(1, 2)
    _against_hours(left, shown)
    _against_k(right, _families(shown))
    for axes in (left, right):
        axes.set_ylabel("test AUC, 95 % interval by user")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})


def _bars(rows: Sequence[Row]) -> list[list[float]]:
    """Lengths of the error bars, down and up; the mean may lie outside an interval of few users."""
    low = [max(0.0, (row.auc or 0) - row.auc_low) if row.auc_low is not None else 0.0 for row in rows]
    high = [max(0.0, row.auc_high - (row.auc or 0)) if row.auc_high is not None else 0.0 for row in rows]
    return [low, high]


def _against_hours(axes: Axes, rows: Sequence[Row]) -> None:
    timed = [row for row in rows if row.training_hours]
    for place, row in enumerate(timed):
        marker = "osD^vP*X"[place // 10 % 8]  # colours repeat after ten
        hours, auc = [row.training_hours or 0.0], [row.auc or 0.0]
        axes.errorbar(hours, auc, _bars([row]), fmt=marker, capsize=3, label=row.configuration)
    if timed:
        axes.set_xscale("log")
    axes.set(xlabel="mean training hours", title="Quality against cost")


def _families(rows: Sequence[Row]) -> list[list[Row]]:
    """Configurations that differ in ``pack.k`` alone, by rising k; those without such a sibling are left out."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    return [sorted(family, key=lambda row: _rank(row.k)) for family in families.values() if len(family) > 1]


def _rank(k: int | str) -> float:
    return float("inf") if isinstance(k, str) else k


def _against_k(axes: Axes, families: Sequence[Sequence[Row]]) -> None:
    ks = sorted({row.k for family in families for row in family}, key=_rank)
    for family in families:
        places, aucs = [ks.index(row.k) for row in family], [row.auc or 0.0 for row in family]
        words = family[0].configuration.split(" ")
        name = " ".join(word for word in words if not word.startswith(("k=", "pack.k=")))
        axes.errorbar(places, aucs, _bars(family), fmt="o-", capsize=3, label=name)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set(xlabel="k, targets per training prompt", title="Quality against k, all else equal")
