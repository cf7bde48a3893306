"""The table of a sweep: CSV with all digits, Markdown and terminal with those that matter."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dti.evaluation.numbers import number, with_interval
from dti.files import atomic_file
from dti.sweep.compare import COLUMNS, Row

SHOWN: dict[str, Callable[[Row], str]] = {
    "configuration": lambda row: row.configuration,
    "seeds": lambda row: str(row.seeds),
    "AUC [95 %, by user]": lambda row: with_interval(row.auc, row.auc_low, row.auc_high, ".4f"),
    "sd of seeds": lambda row: number(row.auc_sd),
    "difference [95 %]": lambda row: with_interval(row.difference, row.difference_low, row.difference_high, "+.4f"),
    "log loss": lambda row: number(row.log_loss),
    "valid AUC": lambda row: number(row.valid_auc),
    "hours": lambda row: number(row.training_hours, ".3g"),
    "targets/s": lambda row: number(row.targets_per_second, ",.0f"),
    "tokens/target": lambda row: number(row.tokens_per_target, ".1f"),
    "parity gap": lambda row: number(row.parity_gap, ".1e"),
}
"""Columns of the Markdown table and of the terminal."""


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all columns of ``rows``; an undefined value is empty."""
    with atomic_file(path) as partial, partial.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown, padded so that it reads as plain text, too."""
    cells = [list(SHOWN), *([show(row).replace("|", "\\|") for show in SHOWN.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(SHOWN))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def caption(baseline: str | None, samples: int) -> str:
    """What the columns mean, in a line below the table."""
    against = f"against {baseline} on the common seeds" if baseline is not None else "none: the grid names no baseline"
    return (
        f"Means over seeds. Intervals: 95 % of {samples:,} draws of test users, the same draws for all (a "
        "single seed of which none are kept: those of its evaluation). "
        f"Difference of AUC: {against}. Parity gap: largest logit gap at k = all."
    )


def write_markdown(path: Path, text: str) -> None:
    """Write the table and the line below it."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
