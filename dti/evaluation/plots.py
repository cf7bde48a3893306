"""ROC, reliability and learning curve: small CSV files for `dvc plots`, and the same as PNG."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from dti.evaluation import metrics as m
from dti.evaluation.baselines import Baselines
from dti.evaluation.history import COLUMNS, read_history
from dti.evaluation.metrics import Array, Bins, ScoredSplit
from dti.files import atomic_file

ROC_POINTS = 500
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def write_plots(test: ScoredSplit | None, beside: Baselines, history: Path, folder: Path) -> None:
    """Write roc, reliability and learning_curve into ``folder``, each as CSV and PNG.

    Args:
        test: the scored test split; None (``data.split: none``) leaves the first two empty.
        beside: the baselines' scores on the same split.
        history: reports/history.csv.

    Raises:
        DtiError: the history is missing or malformed, or the disk is full.
    """
    _write_roc(test, beside, folder)
    _write_reliability(test, folder)
    _write_learning_curve(read_history(history), folder)


def roc_points(label: Array, score: Array) -> Curve:
    """False and true positive rates, at most ``ROC_POINTS`` of them, evenly spread along the curve.

    Empty unless both labels occur.
    """
    if not label.size or label.min() == label.max():
        return np.empty(0), np.empty(0)
    false, true, _ = roc_curve(label, score)
    place = np.searchsorted(false + true, np.linspace(0, 2, ROC_POINTS)).clip(max=false.size - 1)
    kept = np.unique(place)
    return false[kept], true[kept]


def _write_roc(test: ScoredSplit | None, beside: Baselines, folder: Path) -> None:
    named: dict[str, tuple[Array, Array]] = {}
    if test:
        named["model"] = test.label, test.score
        named["popularity"] = beside.label, beside.popularity
        named["logistic regression"] = beside.label, beside.regression
    curves = {name: roc_points(*scored) for name, scored in named.items()}
    _write_csv(folder / "roc.csv", ("fpr", "tpr"), zip(*curves.get("model", ((), ())), strict=True))

    def draw(axes: Axes) -> None:
        for name, curve in curves.items():
            value = m.auc(*named[name])
            axes.plot(*curve, label=f"{name}, AUC {value:.4f}" if value is not None else f"{name}, no AUC")
        _diagonal(axes)
        axes.set(title="ROC, test split", xlabel="false positive rate", ylabel="true positive rate")

    _write_png(folder / "roc.png", draw)


def _write_reliability(test: ScoredSplit | None, folder: Path) -> None:
    cut = m.reliability(test.label, test.score) if test else Bins(np.empty(0), np.empty(0), np.empty(0, np.int64))
    error = m.ece(test.label, test.score) if test else None
    rows = zip(cut.score, cut.rate, cut.count, strict=True)
    _write_csv(folder / "reliability.csv", ("score", "rate", "targets"), rows)

    def draw(axes: Axes) -> None:
        name = f"model, ECE {error:.4f}" if error is not None else "model, no targets"
        axes.plot(cut.score, cut.rate, "o-", label=name)
        _diagonal(axes)
        axes.set(title=f"Reliability, test split, {m.ECE_BINS} bins of equal mass")
        axes.set(xlabel="mean predicted probability", ylabel="share of positive labels")

    _write_png(folder / "reliability.png", draw)


def _write_learning_curve(history: Mapping[str, Sequence[float | None]], folder: Path) -> None:
    rows = zip(*(["" if v is None else v for v in history[name]] for name in COLUMNS), strict=True)
    _write_csv(folder / "learning_curve.csv", COLUMNS, rows)
    minutes = [60 * (hours or 0.0) for hours in history["hours"]]

    def draw(upper: Axes, lower: Axes) -> None:
        upper.plot(minutes, _with_gaps(history["valid_auc"]), "ko-", label="validation")
        upper.set(title="Learning curve, a point per epoch", ylabel="AUC")
        lower.plot(minutes, _with_gaps(history["train_loss"]), "o--", label="training")
        lower.plot(minutes, _with_gaps(history["valid_log_loss"]), "ko-", label="validation")
        lower.set(xlabel="training time (minutes)", ylabel="log loss (nats)")

    _write_png(folder / "learning_curve.png", draw, panels=2)


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")


def _write_csv(target: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_file(target) as partial, partial.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def _write_png(target: Path, draw: Callable[..., None], panels: int = 1) -> None:
    """Draw on fresh axes, one per panel, and save them without date or version: equal data give equal bytes."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots(panels, sharex=True, squeeze=False)[:, 0]
    draw(*axes)
    for panel in axes:
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    with atomic_file(target) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})
