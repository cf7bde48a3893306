import io

import pytest

from dti.progress import Progress
from flows.progress import share_of


@pytest.mark.parametrize(
    ("what", "share"), [("prepare demo", 25.0), ("epoch 1/2", 12.5), ("epoch 2/2", 62.5), ("parity, k = all", 25.0)]
)
def test_the_lines_of_progress_are_read(what, share):
    out = io.StringIO()
    with Progress(what, 8_000, "targets", every=0, out=out) as progress:
        progress.advance(2_000, "loss 0.5")
        line = out.getvalue().splitlines()[0]
    assert share_of(line) == share


def test_a_whole_epoch_is_not_the_whole_training():
    out = io.StringIO()
    with Progress("epoch 3/4", 10, "targets", every=100, out=out) as progress:
        progress.advance(10)
    assert share_of(out.getvalue()) == 75.0


@pytest.mark.parametrize(
    "line",
    [
        "",
        "epoch 1: validation AUC 0.7917, log loss 0.6917",
        "> python -m dti.stages.train",
        "attention: blocks",
        "validation: 3,750/3,750 targets (100 %), 11,282 targets/s, 0:00:00 left",
    ],
)
def test_other_lines_are_none(line):
    assert share_of(line) is None
