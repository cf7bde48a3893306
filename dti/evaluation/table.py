"""The result table of a run for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from dti.evaluation.numbers import number, with_interval
from dti.progress import clock

SCORES = ("", "AUC [95 %, by user]", "log loss", "gAUC", "F1", "ECE")
SCORED_ON = {
    "stream": "streams, equal to serving prompts (reports/parity.json)",
    "serving": "serving prompts",
    None: "-",
}
KEYS = {
    "model": ("auc", "log_loss", "gauc", "f1", "ece"),
    "popularity": ("popularity_auc", "popularity_log_loss"),
    "logistic regression": ("lr_auc", "lr_log_loss"),
    "oracle": ("oracle_auc",),
}
"""The rows of the table and the keys of metrics.json that fill their columns."""


def result_table(metrics: Mapping[str, Any], run_place: str | None = None) -> str:
    """The table of metrics.json as aligned plain text.

    Args:
        metrics: the content of reports/metrics.json.
        run_place: lines that say where the MLflow run is; None leaves them out.
    """
    title = f"{metrics['title']}: {metrics['paradigm']}, k = {metrics['k']}, n = {metrics['n']}, {metrics['policy']}"
    blocks = [f"{title}, seed {metrics['seed']}", aligned(_scores(metrics)), aligned(_facts(metrics))]
    return "\n\n".join([*blocks, *([run_place] if run_place else [])])


def _named(row: str, metrics: Mapping[str, Any]) -> str:
    """A row's name; the model's says how its backbone was quantised, which no other number of the table shows."""
    weights = metrics.get("backbone_weights", "float32")
    return f"{row} ({weights})" if row == "model" and weights != "float32" else row


def _scores(metrics: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [SCORES]
    for name, keys in KEYS.items():
        if keys[0] in metrics:
            rows.append([_named(name, metrics), *(number(metrics[key]) for key in keys)])
    if metrics["auc_low"] is not None:
        model = list(rows[1])
        model[1] = with_interval(metrics["auc"], metrics["auc_low"], metrics["auc_high"])
        rows[1] = model
    return rows


def _facts(metrics: Mapping[str, Any]) -> list[Sequence[str]]:
    hours, rate = metrics["training_hours"], metrics["targets_per_second"]
    facts = [
        ("test targets", f"{metrics['test_targets']:,}"),
        ("  AUC of those strictly later than their predecessor", number(metrics["auc_strict"])),
        ("training time", f"{clock(hours * 3600)} ({hours:.4f} h)"),
        ("training targets", f"{metrics['train_targets']:,} x {metrics['epochs']} epochs ({rate:,.0f} targets/s)"),
        ("training tokens", f"{metrics['train_tokens']:,} an epoch"),
    ]
    return [*facts, ("scores taken on", SCORED_ON[metrics["scored_on"]])]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Pad every column but the last of a row to its widest cell."""
    columns = max(map(len, rows))
    width = [max(len(row[c]) for row in rows if c < len(row)) for c in range(columns)]
    return "\n".join("  ".join(cell.ljust(width[c]) for c, cell in enumerate(row)).rstrip() for row in rows)
