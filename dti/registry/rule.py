"""The rule that decides whether a version may become champion: numbers in, a decision with its reasons out.

The bounds are the section ``promote`` of params.yaml. A first model has no champion to be compared with; it must beat
every baseline of metrics.json instead. The parity gap is bounded for isolated adapters alone: theirs is rounding, so
that a larger one is a fault. A window adapter's gap is its leakage (0.5 logits are usual), which its scores of record,
taken on serving prompts, have paid for already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dti.evaluation import metrics as m
from dti.params import Promote

SEED = 0
BASELINES = {"item popularity": "popularity", "logistic regression": "lr"}
"""The baselines of metrics.json by the prefix of their keys."""

Verdict = Literal["promoted", "refused", "forced", "unchanged"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Check:
    """One line of the decision.

    Attributes:
        name: what is compared.
        value: the challenger's number; None where it has none.
        beside: the champion's or the baseline's; None where there is nothing to compare.
        text: the difference or gap, as it is shown.
        bound: what was asked for, in words.
        holds: whether it is met; None where the bound does not apply.
    """

    name: str
    value: float | None
    beside: float | None
    text: str
    bound: str
    holds: bool | None


@dataclass(frozen=True)
class Targets:
    """The test targets on which both are compared: users, labels, and the scores of either, each (T,)."""

    user: Array
    label: Array
    challenger: NDArray[np.float64]
    champion: NDArray[np.float64]


def against_champion(targets: Targets, rule: Promote) -> list[Check]:
    """The challenger's AUC must be better beyond doubt, its log loss and calibration hardly worse."""
    return [
        _auc_gain(targets, rule),
        _rise("log loss", m.log_loss, targets, rule.max_log_loss_rise),
        _rise("ECE", m.ece, targets, rule.max_ece_rise),
    ]


def against_baselines(metrics: Mapping[str, Any]) -> list[Check]:
    """AUC and log loss of metrics.json must both be better than every baseline's."""
    checks = []
    for name, prefix in BASELINES.items():
        auc, beside = metrics["auc"], metrics[f"{prefix}_auc"]
        checks.append(_better(f"AUC, {name}", auc, beside, lower=False))
        loss, beside = metrics["log_loss"], metrics[f"{prefix}_log_loss"]
        checks.append(_better(f"log loss, {name}", loss, beside, lower=True))
    return checks


def parity_check(policy: str, gaps: Mapping[str, float], rule: Promote) -> Check:
    """The largest logit gap of any k, bounded for isolated adapters."""
    gap = max(gaps.values(), default=None)
    if policy != "isolated":
        return Check("parity gap", gap, None, _gap(gap), f"none ({policy}: scored on serving prompts)", None)
    holds = gap is not None and gap <= rule.max_parity_gap
    return Check("parity gap", gap, None, _gap(gap), f"at most {rule.max_parity_gap:.1e}", holds)


def serving_check(recorded: NDArray[np.float64], served: NDArray[np.float64], rule: Promote) -> Check:
    """The scores that the version serves must be those that were evaluated."""
    gap = float(np.abs(recorded - served).max(initial=0.0))
    bound = f"at most {rule.max_serving_gap:.1e}"
    return Check("served scores", gap, None, f"{_gap(gap)} on {recorded.size:,}", bound, gap <= rule.max_serving_gap)


def _auc_gain(targets: Targets, rule: Promote) -> Check:
    user, label = targets.user, targets.label
    ours, theirs = (m.auc(label, score) for score in (targets.challenger, targets.champion))
    draws = [m.auc_draws(label, score, user, rule.bootstrap, SEED) for score in (targets.challenger, targets.champion)]
    span, bound = m.interval(draws[0] - draws[1]), f"interval above {rule.min_gain:+g}"
    if ours is None or theirs is None:
        return Check("AUC", ours, theirs, "undefined: the targets have one label", bound, False)
    if span is None:
        few = f"{ours - theirs:+.4f}, no interval: fewer than {m.LEAST_USERS} users"
        return Check("AUC", ours, theirs, few, bound, False)
    text = f"{ours - theirs:+.4f} [{span[0]:+.4f}, {span[1]:+.4f}]"
    return Check("AUC", ours, theirs, text, bound, span[0] > rule.min_gain)


def _rise(name: str, metric: Any, targets: Targets, most: float) -> Check:
    ours, theirs = (metric(targets.label, score) for score in (targets.challenger, targets.champion))
    if ours is None or theirs is None:
        return Check(name, ours, theirs, "undefined: no targets", f"at most {most:+g}", False)
    return Check(name, ours, theirs, f"{ours - theirs:+.4f}", f"at most {most:+g}", ours - theirs <= most)


def _better(name: str, ours: float | None, theirs: float | None, *, lower: bool) -> Check:
    bound = "below" if lower else "above"
    if ours is None or theirs is None:
        return Check(name, ours, theirs, "undefined: no test targets", bound, False)
    return Check(name, ours, theirs, f"{ours - theirs:+.4f}", bound, (ours < theirs) if lower else (ours > theirs))


def _gap(gap: float | None) -> str:
    return "not measured" if gap is None else f"{gap:.1e}"


@dataclass(frozen=True)
class Decision:
    """What was decided about a version, and why.

    Attributes:
        model, version: the registered model and the version's number.
        verdict: promoted; refused; forced (promoted although refused or not comparable); unchanged (champion already).
        champion: the version that it was compared with; None for the first.
        targets: how many test targets were compared.
        checks: the rule's lines.
        reasons: what speaks against it, in sentences; empty where all checks hold.
        aliases: where the aliases point afterwards.
    """

    model: str
    version: str
    verdict: Verdict
    champion: str | None
    targets: int
    checks: Sequence[Check]
    reasons: Sequence[str]
    aliases: Mapping[str, str]

    @property
    def promoted(self) -> bool:
        """Whether the version is champion now."""
        return self.verdict != "refused"

    def numbers(self) -> list[dict[str, Any]]:
        """The checks as plain values, for JSON."""
        return [asdict(check) for check in self.checks]


def reasons_of(checks: Sequence[Check]) -> list[str]:
    """A sentence for every check that does not hold."""
    return [f"{c.name}: {c.text}, but the rule asks for: {c.bound}" for c in checks if c.holds is False]
