"""Classic models that `make baselines` trained on the same packed data, beside this run's model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dti.errors import DtiError
from dti.evaluation.numbers import number, with_interval
from dti.evaluation.scores import Scores
from dti.files import read_json
from dti.report.comparing import Bootstrap, Estimate, winner
from dti.report.document import Cell, Section, Table, cells
from dti.report.models import HEAD, HIGHER, NAMES
from dti.report.run import Run

FOLDER = "reports/rivals"
COLUMNS = (*HEAD, "model's AUC minus its AUC [95 %]", "in words")


def section(run: Run, draw: Bootstrap) -> Section:
    """A row for each rival on this run's packed data.

    Raises:
        DtiError: there is none, a file lacks a number, or its scores are of other targets.
    """
    files = sorted((run.root / FOLDER).glob("*.json"))
    found = [(path, read_json(path)) for path in files]
    mine = [(path, rival) for path, rival in found if rival.get("digest") == run.pack["digest"]]
    if not mine:
        raise DtiError(f"{FOLDER}: {len(files)} rivals, none on this run's packed data; run `make baselines`")
    try:
        rows = [[*_numbers("model", {**run.metrics, **run.train}), Cell(""), Cell("")]]
        rows += [_row(run, path, rival, draw) for path, rival in mine]
    except KeyError as error:
        raise DtiError(f"{FOLDER}: a file has no {error}; run `make baselines` again") from None
    notes = [
        f"The same {run.metrics['test_targets']:,} test targets, and for differences the same {draw.samples:,} draws "
        "of their users. No winner: the interval of the difference holds 0; other metrics by the number alone, however "
        "small. Training hours of a rival: of its chosen setting, tuning not counted.",
    ]
    title = "Classic models on the same packed data"
    source = f"`{FOLDER}`, `reports/metrics.json`"
    table = Table(title, COLUMNS, rows, source, notes, drawn=9, zero=0.0, texts=[10])
    return Section("rivals", "Rivals", [table])


def _row(run: Run, path: Path, rival: Mapping[str, Any], draw: Bootstrap) -> list[Cell]:
    name = f"{rival['model']}, seed {rival['seed']}"
    gap = _difference(run, path.with_suffix(".parquet"), draw)
    numbers = _numbers(name, {**rival, "trained_parameters": rival["parameters"]})
    return [*numbers, gap.cell("+.4f") if gap else Cell("-"), Cell(_words(run, rival, gap))]


def _difference(run: Run, path: Path, draw: Bootstrap) -> Estimate | None:
    """The model's AUC minus the rival's; None where the scores of one were not kept."""
    ours = run.scores
    if ours is None or not path.exists():
        return None
    theirs = Scores.read(path)
    if not theirs.has_targets_of(ours):
        raise DtiError(f"{path}: scores of other targets than {ours.path}; run `make baselines` again")
    mine, other = (draw.auc(scores.label, scores.score, scores.user) for scores in (ours, theirs))
    return mine.minus(other)


def _numbers(name: str, found: Mapping[str, Any]) -> list[Cell]:
    scores = [number(found[metric]) for metric in NAMES if metric != "auc"]
    effort = [
        f"{found['training_hours']:.3g}",
        f"{found['targets_per_second']:,.0f}",
        f"{found['trained_parameters']:,}",
    ]
    return cells(name, with_interval(found["auc"], found["auc_low"], found["auc_high"]), *scores, *effort)


def _words(run: Run, rival: Mapping[str, Any], gap: Estimate | None) -> str:
    """Who wins by AUC, by the interval where there is one, and by what else the rival is better."""
    better = [title for name, title in NAMES.items() if _better(name, run.metrics[name], rival[name])]
    by_number = f"better by the number: {', '.join(better)}" if better else "the model is better by all"
    return by_number if gap is None else f"by AUC: {winner(gap, 'the model', rival['model'])}; {by_number}"


def _better(name: str, mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None:
        return False
    return theirs > mine if name in HIGHER else theirs < mine
