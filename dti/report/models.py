"""The table of models: this run's beside the baselines, and who wins, in words."""

from collections.abc import Mapping
from dataclasses import dataclass

from dti.evaluation import metrics as m
from dti.evaluation.numbers import number
from dti.report.comparing import Bootstrap, Estimate, winner
from dti.report.document import Block, Cell, Section, Table, Words, cells
from dti.report.run import Run
from dti.report.targets import MODEL, ORACLE, Targets

HIGHER, LOWER = ("auc", "gauc", "f1"), ("log_loss", "ece")
NAMES = {"auc": "AUC", "gauc": "gAUC", "log_loss": "log loss", "f1": "F1", "ece": "ECE"}
SOURCE = "`reports/metrics.json`, `reports/train.json`; baselines computed from `data/packed`"


@dataclass(frozen=True)
class Quality:
    """A model's metrics on the test split; AUC and gAUC with their intervals, too."""

    auc: Estimate
    gauc: Estimate
    metrics: Mapping[str, float | None]

    def beats(self, other: "Quality", name: str) -> bool:
        """Whether this one is better by ``name``, however little."""
        mine, theirs = self.metrics[name], other.metrics[name]
        if mine is None or theirs is None:
            return False
        return mine > theirs if name in HIGHER else mine < theirs


HEAD = (
    "",
    "AUC [95 %, by user]",
    "gAUC",
    "log loss",
    "F1",
    "ECE",
    "training hours",
    "targets/s",
    "trained weights",
)


def qualities(run: Run, targets: Targets, draw: Bootstrap) -> dict[str, Quality]:
    """The metrics of all who score the test targets; the model's own are those of metrics.json."""
    found = {}
    for name, score in targets.score.items():
        auc, gauc = (estimate(targets.label, score, targets.user) for estimate in (draw.auc, draw.gauc))
        metrics = dict(run.metrics) if name == MODEL else _metrics(targets, name)
        found[name] = Quality(auc, gauc, metrics | {"auc": auc.value, "gauc": gauc.value})
    return found


def _metrics(targets: Targets, name: str) -> dict[str, float | None]:
    label, score = targets.label, targets.score[name]
    return {
        "log_loss": m.log_loss(label, score),
        "f1": m.f1(label, score, targets.threshold.get(name)),
        "ece": m.ece(label, score),
    }


def section(run: Run, targets: Targets, found: Mapping[str, Quality], draw: Bootstrap) -> Section:
    """The table of models, and the model against each baseline."""
    blocks: list[Block] = [_table(run, targets, found, draw), _against_each(found, targets, draw)]
    words = wins(found) or [f"No baseline has a better {', '.join(NAMES.values())} than the model."]
    return Section("models", "Models", [*blocks, Words(words, listed=True)])


def _table(run: Run, targets: Targets, found: Mapping[str, Quality], draw: Bootstrap) -> Table:
    best = {name: _best(found, name) for name in NAMES}
    rows = []
    for who, quality in found.items():
        scores = [Cell(number(quality.metrics[name]), best[name] == who) for name in NAMES if name != "auc"]
        rows.append([Cell(who), quality.auc.cell(best=best["auc"] == who), *scores, *_effort(run, who)])
    notes = [
        f"{len(targets):,} test targets of {targets.users:,} users. AUC with its 95 % interval: {draw.samples:,} draws "
        f"of users with all their targets, seed {draw.seed}. Bold: the best of its column, the oracle left out.",
        "gAUC: mean AUC of single users, weighted by targets. F1 at the threshold that is best on validation. ECE: "
        f"calibration error over {m.ECE_BINS} bins of equal mass. Lower is better for log loss and ECE.",
        "The baselines use the training split's item rates and each user's earlier labels; their seconds of fitting "
        "are not recorded." + (" The oracle knows the true click probabilities." if ORACLE in found else ""),
    ]
    return Table("Models on the test split", list(HEAD), rows, SOURCE, notes)


def _best(found: Mapping[str, Quality], name: str) -> str | None:
    """Who has the best value; the oracle is no rival."""
    known = {who: quality.metrics[name] for who, quality in found.items() if who != ORACLE}
    values = {who: value for who, value in known.items() if value is not None}
    pick = max if name in HIGHER else min
    return pick(values, key=lambda who: values[who]) if values else None


def _effort(run: Run, who: str) -> list[Cell]:
    if who != MODEL:
        return cells("-", "-", "-")
    hours, rate = run.train["training_hours"], run.train["targets_per_second"]
    return cells(f"{hours:.3g}", f"{rate:,.0f}", f"{run.train['trained_parameters']:,}")


def _rivals(found: Mapping[str, Quality]) -> list[str]:
    return [who for who in found if who not in (MODEL, ORACLE)]


def _against_each(found: Mapping[str, Quality], targets: Targets, draw: Bootstrap) -> Table:
    rows = []
    for who in _rivals(found):
        auc, gauc = found[MODEL].auc.minus(found[who].auc), found[MODEL].gauc.minus(found[who].gauc)
        words = [Cell(winner(difference, "the model", who)) for difference in (auc, gauc)]
        rows.append([Cell(who), auc.cell("+.4f"), words[0], Cell(gauc.cell("+.4f").text), words[1]])
    note = (
        f"On the same {draw.samples:,} draws of the {targets.users:,} test users. No winner: the interval "
        "of the difference holds 0. Dotted line: no difference in AUC."
    )
    head = ["against", "model's AUC minus its AUC [95 %]", "by AUC", "the same of gAUC [95 %]", "by gAUC"]
    return Table("The model against each baseline", head, rows, SOURCE, [note], drawn=1, zero=0.0, texts=[2, 4])


def wins(found: Mapping[str, Quality]) -> list[str]:
    """Each metric that is better for a baseline than for the model, however little."""
    return [
        f"{who} has the better {NAMES[name]}: {number(found[who].metrics[name])} against "
        f"{number(found[MODEL].metrics[name])} of the model."
        for who in _rivals(found)
        for name in NAMES
        if found[who].beats(found[MODEL], name)
    ]


def best_rival(found: Mapping[str, Quality]) -> str:
    """The baseline with the highest AUC."""
    return max(_rivals(found), key=lambda who: found[who].metrics["auc"] or 0.0)
