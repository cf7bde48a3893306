"""Reads the lines of dti/progress.py."""

import re

LINE = re.compile(r"(?P<what>[^:]+): (?P<done>[\d,]+)/(?P<total>[\d,]+) \S+ \(\d+ %\), ")
EPOCH = re.compile(r"epoch (?P<epoch>\d+)/(?P<epochs>\d+)")


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def share_of(line: str) -> float | None:
    """How much of its work, in per cent, a stage has done that says this; of all epochs in a training.

    None where the line is no line of progress; a training's validation is part of its epoch.
    """
    found = LINE.match(line)
    if not found or found["what"] == "validation":
        return None
    total = _number(found["total"])
    share = _number(found["done"]) / total if total else 1.0
    epoch = EPOCH.fullmatch(found["what"])
    if epoch:
        share = (int(epoch["epoch"]) - 1 + share) / int(epoch["epochs"])
    return 100 * min(share, 1.0)
