"""The figures that evaluate drew, with captions that say what is seen."""

from dti.evaluation import metrics as m
from dti.report.document import Block, Figure, Section, Words
from dti.report.run import Run

PLOTS = "reports/plots"


def section(run: Run, targets: int, users: int) -> Section:
    """ROC and reliability where there is a test split, and the learning curve."""
    tested: list[Block] = [_roc(run, targets, users), _reliability(run, targets, users)] if targets else []
    return Section("figures", "Figures", [*tested, _learning(run)] if _drawn(run) else [Words([_missing()])])


def _drawn(run: Run) -> bool:
    return all((run.root / PLOTS / f"{name}.png").exists() for name in ("roc", "reliability", "learning_curve"))


def _missing() -> str:
    return f"`{PLOTS}` was not kept with this run."


def _figure(run: Run, name: str, alt: str, caption: str, source: str) -> Figure:
    return Figure(run.root / PLOTS / f"{name}.png", alt, caption, source)


def _roc(run: Run, targets: int, users: int) -> Figure:
    return _figure(
        run,
        "roc",
        "ROC curves of the model and both baselines",
        f"ROC of {targets:,} test targets of {users:,} users: how many positives are found (up) for how many negatives "
        "called positive (right), at every threshold. Dotted: guessing.",
        f"`{PLOTS}/roc.csv`",
    )


def _reliability(run: Run, targets: int, users: int) -> Figure:
    return _figure(
        run,
        "reliability",
        "Reliability curve of the model",
        f"Reliability on the same {targets:,} targets of {users:,} users, sorted by score and cut into {m.ECE_BINS} "
        "bins of equal mass: the mean predicted probability of a bin against its share of positives. On the dotted "
        "line predictions can be taken at their word.",
        f"`{PLOTS}/reliability.csv`",
    )


def _learning(run: Run) -> Figure:
    epochs, hours = run.train["epochs"], run.train["training_hours"]
    scored = run.history["valid_auc"]
    best = f" Epoch {run.train['best_epoch']} is kept." if any(value is not None for value in scored) else ""
    return _figure(
        run,
        "learning_curve",
        "Validation AUC and log loss against training time",
        f"Learning curve over {epochs} epochs and {hours:.3g} hours of training (validation and checkpoints not "
        f"counted): AUC on validation targets above, log loss below.{best}",
        f"`{PLOTS}/learning_curve.csv`, from `reports/history.csv`",
    )
