"""reports/metrics.json: what evaluation found, with what is needed to judge it."""

from collections.abc import Mapping
from typing import Any

from dti.evaluation import metrics as m
from dti.evaluation.baselines import Baselines
from dti.evaluation.metrics import ScoredSplit

TEST_METRICS = ("auc", "auc_low", "auc_high", "auc_strict", "gauc", "log_loss", "f1", "f1_threshold", "ece")
TRAIN_FACTS = (
    "backbone",
    "backbone_weights",
    "epochs",
    "train_targets",
    "train_tokens",
    "training_hours",
    "targets_per_second",
)


def model_metrics(
    valid: ScoredSplit | None, test: ScoredSplit | None, bootstrap: int, seed: int
) -> dict[str, float | None]:
    """The model's metrics (``TEST_METRICS``) on the test split; all None without one.

    Args:
        valid: chooses the threshold of F1; without it F1 is None.
        bootstrap: samples of users behind the interval of AUC, drawn with ``seed``.
    """
    if test is None:
        return dict.fromkeys(TEST_METRICS)
    label, score = test.label, test.score
    low, high = m.auc_interval(label, score, test.user, bootstrap, seed) or (None, None)
    threshold = m.best_f1_threshold(valid.label, valid.score) if valid else None
    return {
        "auc": m.auc(label, score),
        "auc_low": low,
        "auc_high": high,
        "auc_strict": m.auc_strict(label, score, test.strict),
        "gauc": m.gauc(label, score, test.user),
        "log_loss": m.log_loss(label, score),
        "f1": m.f1(label, score, threshold),
        "f1_threshold": threshold,
        "ece": m.ece(label, score),
    }


def baseline_metrics(beside: Baselines) -> dict[str, float | None]:
    """AUC and log loss of both baselines; None for a split without targets."""
    return {
        "popularity_auc": m.auc(beside.label, beside.popularity),
        "lr_auc": m.auc(beside.label, beside.regression),
        "popularity_log_loss": m.log_loss(beside.label, beside.popularity),
        "lr_log_loss": m.log_loss(beside.label, beside.regression),
    }


def oracle_metrics(test: ScoredSplit | None) -> dict[str, float | None]:
    """``oracle_auc``, the AUC of the true click probabilities; nothing where nobody knows them."""
    if test is None or test.probability is None:
        return {}
    return {"oracle_auc": m.auc(test.label, test.probability)}


def assemble_metrics(
    *,
    valid: ScoredSplit | None,
    test: ScoredSplit | None,
    baselines: Mapping[str, Baselines],
    train: Mapping[str, Any],
    data: Mapping[str, Any],
    meta: Mapping[str, Any],
    adapter: Mapping[str, Any],
    seed: int,
    bootstrap: int,
    scored_on: str | None,
) -> dict[str, Any]:
    """Build metrics.json (docs/formats.md); a KeyError names a field that one of the given records lacks.

    Args:
        valid, test: the scored splits; None where ``data.split: none`` left no targets, and their metrics are null.
        baselines: what ``dti.evaluation.baselines.baselines`` returns.
        train, data: reports/train.json and reports/data.json.
        meta, adapter: k as packed; policy and n of the model.
        seed: the training run's seed, used for the bootstrap, too.
        bootstrap: samples of users behind the interval of AUC.
        scored_on: what the test scores were taken on, `stream` or `serving` prompts; None without a test split.
    """
    return {
        **{name: data[name] for name in ("dataset", "title", "official")},
        "paradigm": "sliding" if meta["k"] == 1 else "stream",
        "policy": adapter["policy"],
        "n": adapter["n"],
        "k": meta["k"],
        "seed": seed,
        **model_metrics(valid, test, bootstrap, seed),
        "valid_auc": m.auc(valid.label, valid.score) if valid else None,
        **baseline_metrics(baselines["test"]),
        "test_targets": test.label.size if test else 0,
        **{name: train[name] for name in TRAIN_FACTS},
        "scored_on": scored_on,
        **oracle_metrics(test),
    }
