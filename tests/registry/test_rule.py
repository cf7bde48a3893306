"""The promotion rule on made-up scores."""

from pathlib import Path

import numpy as np
import pytest

from dti.evaluation import metrics as m
from dti.params import Promote, load_params
from dti.registry.gate import decision_table, decision_tags
from dti.registry.rule import (
    Check,
    Decision,
    Targets,
    against_baselines,
    against_champion,
    parity_check,
    reasons_of,
    serving_check,
)

RULE = load_params(Path(__file__).parents[2] / "params.yaml").promote
METRICS = {
    "auc": 0.75,
    "log_loss": 0.5,
    "popularity_auc": 0.6,
    "lr_auc": 0.7,
    "popularity_log_loss": 0.65,
    "lr_log_loss": 0.55,
    "oracle_auc": 0.99,
}


def rule(**bounds: float) -> Promote:
    return RULE.model_copy(update=bounds)


def targets(better: float = 0.0, users: int = 60, scale: float = 1.0) -> Targets:
    """Targets whose challenger sees ``better`` more of the truth than the champion, and is calibrated at scale 1."""
    rng = np.random.default_rng(5)
    user = np.sort(rng.integers(users, size=30 * users))
    truth = rng.normal(0, 1.5, user.size)
    label = (rng.random(user.size) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    noise = rng.normal(0, 1.0, user.size)
    challenger, champion = ((0.5 + share) * truth + (0.5 - share) * noise for share in (better, 0.0))
    ours, theirs = (1 / (1 + np.exp(-logit)) for logit in (scale * challenger, champion))
    return Targets(np.array([f"u{one}" for one in user]), label, ours, theirs)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_clear_gain_holds_and_the_interval_is_of_paired_draws() -> None:
    given = targets(better=0.2)
    found = by_name(against_champion(given, RULE))
    assert [check.holds for check in found.values()] == [True, True, True]
    label, user = given.label, given.user
    draws = [m.auc_draws(label, score, user, RULE.bootstrap, 0) for score in (given.challenger, given.champion)]
    low, high = m.interval(draws[0] - draws[1]) or (0.0, 0.0)
    gain = m.auc(label, given.challenger) - m.auc(label, given.champion)  # type: ignore[operator]
    assert found["AUC"].text == f"{gain:+.4f} [{low:+.4f}, {high:+.4f}]"
    assert 0 < low < gain < high
    apart = m.interval(draws[0])[0] - m.interval(draws[1])[1]  # type: ignore[index]
    assert low > apart, "pairing makes the interval narrower"


def test_min_gain_is_a_bound_of_the_whole_interval() -> None:
    given = targets(better=0.2)
    assert by_name(against_champion(given, rule(min_gain=0.3)))["AUC"].holds is False
    assert by_name(against_champion(given, rule(min_gain=-0.5)))["AUC"].holds is True


def test_the_same_scores_are_no_gain() -> None:
    checks = by_name(against_champion(targets(), RULE))
    assert (checks["AUC"].holds, checks["log loss"].holds, checks["ECE"].holds) == (False, True, True)
    assert checks["AUC"].text == "+0.0000 [+0.0000, +0.0000]"
    assert reasons_of(list(checks.values())) == [
        "AUC: +0.0000 [+0.0000, +0.0000], but the rule asks for: interval above +0"
    ]


def test_a_better_order_with_wrong_probabilities_is_refused() -> None:
    checks = by_name(against_champion(targets(better=0.2, scale=6.0), RULE))
    assert (checks["AUC"].holds, checks["log loss"].holds, checks["ECE"].holds) == (True, False, False)
    assert checks["ECE"].value > checks["ECE"].beside  # type: ignore[operator]
    loose = against_champion(targets(better=0.2, scale=6.0), rule(max_log_loss_rise=9.0, max_ece_rise=1.0))
    assert reasons_of(loose) == []


def test_a_gain_on_too_few_users_decides_nothing() -> None:
    given = targets(better=0.2)
    two = Targets(np.arange(given.label.size) % 2, given.label, given.challenger, given.champion)
    check = by_name(against_champion(two, RULE))["AUC"]
    assert check.holds is False
    assert "no interval: fewer than 10 users" in str(check)


def test_targets_without_both_labels_or_none_decide_nothing() -> None:
    given = targets(better=0.2)
    ones = Targets(given.user, np.ones_like(given.label), given.challenger, given.champion)
    assert by_name(against_champion(ones, RULE))["AUC"].holds is False
    none = np.empty(0)
    empty = against_champion(Targets(none, none, none, none), RULE)
    assert [check.holds for check in empty] == [False, False, False]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"auc": 0.69}, ["AUC, logistic regression"]),
        ({"auc": 0.6}, ["AUC, item popularity", "AUC, logistic regression"]),
        ({"log_loss": 0.6}, ["log loss, logistic regression"]),
        ({"auc": None, "log_loss": None}, list(by_name(against_baselines(METRICS)))),
    ],
)
def test_a_first_model_beats_every_baseline(changes: dict[str, float], wrong: list[str]) -> None:
    checks = against_baselines(METRICS | changes)
    assert len(checks) == 4
    assert [check.name for check in checks if check.holds is False] == wrong


def test_the_parity_gap_is_bounded_for_isolated_adapters_alone() -> None:
    assert parity_check("isolated", {"5": 1e-6, "all": 2e-6}, RULE).holds is True
    assert parity_check("isolated", {"5": 1e-6, "all": 0.5}, RULE).holds is False
    assert parity_check("isolated", {}, RULE).holds is False, "unmeasured is not small"
    window = parity_check("window", {"5": 0.5}, RULE)
    assert window.holds is None
    assert window.text == "5.0e-01"


def test_served_scores_must_be_the_evaluated_ones() -> None:
    recorded = np.array([0.1, 0.5, 0.9])
    assert serving_check(recorded, recorded + 1e-7, RULE).holds is True
    assert serving_check(recorded, recorded + np.array([0, 2e-5, 0]), RULE).holds is False


def decision(verdict: str, **changes: object) -> Decision:
    checks = [*against_champion(targets(), RULE), parity_check("window", {"5": 0.5}, RULE)]
    reasons = reasons_of(checks)
    given = {"model": "dti-ctr-demo", "version": "3", "verdict": verdict, "champion": "1", "targets": 1800}
    given |= {"checks": checks, "reasons": reasons, "aliases": {"champion": "1", "challenger": "3"}} | changes
    return Decision(**given)  # type: ignore[arg-type]


def test_the_table_shows_numbers_bounds_and_what_is_wrong() -> None:
    text = decision_table(decision("refused"))
    assert text.startswith("dti-ctr-demo version 3 against the champion, version 1: 1,800 test targets\n")
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert rows["AUC"][1:] == ["0.7519", "0.7519", "+0.0000", "[+0.0000,", "+0.0000]", "interval", "above", "+0", "NO"]
    assert rows["parity gap"][-6:] == ["(window:", "scored", "on", "serving", "prompts)", "-"]
    assert "refused; against it:\n  AUC: +0.0000" in text
    assert text.endswith("champion: version 1  challenger: version 3")
    assert "promoted: every check holds" in decision_table(decision("promoted", reasons=[]))
    assert "against the baselines (there is no champion)" in decision_table(decision("promoted", champion=None))
    assert decision_table(decision("unchanged")).startswith("dti-ctr-demo version 3 is champion already")


def test_a_version_remembers_decision_numbers_reasons_and_rule() -> None:
    tags = decision_tags(decision("forced"), RULE)
    assert (tags["gate.decision"], tags["gate.against"], tags["gate.targets"]) == ("forced", "1", "1800")
    assert tags["gate.reasons"].startswith("AUC: +0.0000")
    assert '"name": "log loss"' in tags["gate.checks"]
    assert Promote.model_validate_json(tags["gate.rule"]) == RULE
    assert decision_tags(decision("promoted", reasons=[], champion=None), RULE)["gate.against"] == "none"
