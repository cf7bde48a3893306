"""Promotion and rollback: the champion changes by the written rule, or back, and every decision is recorded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dti.errors import DtiError
from dti.evaluation.table import aligned
from dti.params import Promote
from dti.registry import rule as r
from dti.registry.aliases import CHAMPION, PREVIOUS, after_promotion, after_refusal, after_rollback, aliases_of, move
from dti.registry.evidence import Evaluated, evaluated_targets, served_scores
from dti.registry.rule import Check, Decision, Verdict
from dti.registry.tracking import exclusive
from dti.registry.versions import Opened, copies, find_version, open_version, releasing

COLUMNS = ("check", "this", "beside", "difference or gap", "rule", "holds")
"""Of the table of a decision."""


@dataclass(frozen=True)
class _Found:
    checks: Sequence[Check]
    reasons: Sequence[str]
    targets: int


def promote(model: str, rule: Promote, which: str | None = None, *, force: bool = False) -> Decision:
    """Make a version champion if the rule allows it; else it is the challenger.

    Args:
        model: the registered model, ``dti-ctr-<data set>``.
        rule: the bounds.
        which: a version's number or alias; None for the newest.
        force: promote it whatever the rule says; the decision records what speaks against it.

    Raises:
        DtiError: there is no such version, or it cannot be compared (and ``force`` is not given); nothing has changed.
    """
    with releasing(), copies() as folder:
        with exclusive() as client:
            challenger = open_version(client, find_version(client, model, which), folder)
            aliases = aliases_of(client, model)
            holder = find_version(client, model, CHAMPION) if CHAMPION in aliases else None
            champion = open_version(client, holder, folder) if holder else None
        number, against = challenger.version.number, champion.version.number if champion else None
        if number == against:
            return Decision(model, number, "unchanged", None, 0, (), (), aliases)
        found = _weigh(challenger, champion, rule, force)
        verdict: Verdict = "promoted" if not found.reasons else "forced" if force else "refused"
        after = after_refusal(aliases, number) if verdict == "refused" else after_promotion(aliases, number)
        decision = Decision(model, number, verdict, against, found.targets, found.checks, found.reasons, after)
        with exclusive() as client:
            move(client, model, after, {number: decision_tags(decision, rule)})
    return decision


def _weigh(challenger: Opened, champion: Opened | None, rule: Promote, force: bool) -> _Found:
    try:
        with evaluated_targets(challenger) as test:
            checks = [*_checks(challenger, champion, test, rule), *_integrity(challenger, test, rule)]
            return _Found(checks, r.reasons_of(checks), test.label.size)
    except DtiError as error:
        if not force:
            raise
        return _Found((), [f"not compared: {error}"], 0)


def _checks(challenger: Opened, champion: Opened | None, test: Evaluated, rule: Promote) -> list[Check]:
    if champion is None:
        return r.against_baselines(challenger.origin.reports["metrics"])
    theirs = served_scores(champion, test, test.sample(test.label.size))
    return r.against_champion(r.Targets(test.user, test.label, test.score, theirs), rule)


def _integrity(challenger: Opened, test: Evaluated, rule: Promote) -> list[Check]:
    """That the version is what was measured: no parity gap, and its served scores are the evaluated ones."""
    reports, sample = challenger.origin.reports, test.sample(rule.serving_targets)
    return [
        r.parity_check(reports["metrics"]["policy"], reports["parity"]["max_abs_logit_gap"], rule),
        r.serving_check(test.score[sample], served_scores(challenger, test, sample), rule),
    ]


def decision_tags(decision: Decision, rule: Promote) -> dict[str, str]:
    """What a version remembers of the last decision about it."""
    return {
        "gate.decision": decision.verdict,
        "gate.against": decision.champion or "none",
        "gate.targets": str(decision.targets),
        "gate.reasons": "; ".join(decision.reasons) or "every check holds",
        "gate.checks": json.dumps(decision.numbers()),
        "gate.rule": rule.model_dump_json(),
        "gate.at": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def decision_table(decision: Decision) -> str:
    """The decision as text for the terminal."""
    title = f"{decision.model} version {decision.version}"
    if decision.verdict == "unchanged":
        return f"{title} is champion already\n{_places(decision.aliases)}"
    beside = f"champion, version {decision.champion}" if decision.champion else "baselines (there is no champion)"
    rows = [COLUMNS, *map(row_of, decision.checks)]
    reasons = [f"  {reason}" for reason in decision.reasons]
    verdict = f"{decision.verdict}{'; against it:' if reasons else ': every check holds'}"
    head = f"{title} against the {beside}: {decision.targets:,} test targets"
    return "\n".join([head, "", aligned(rows), "", verdict, *reasons, _places(decision.aliases)])


def row_of(check: Check) -> Sequence[str]:
    """A check as texts, one per column of ``COLUMNS``."""
    holds = {True: "yes", False: "NO", None: "-"}[check.holds]
    gap = check.name in ("parity gap", "served scores")
    ours, theirs = ("" if gap else _number(value) for value in (check.value, check.beside))
    return check.name, ours, theirs, check.text, check.bound, holds


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _places(aliases: Mapping[str, str]) -> str:
    return "  ".join(f"{name}: version {number}" for name, number in aliases.items()) or "no alias is set"


@dataclass(frozen=True)
class Rollback:
    """What a rollback did: ``champion`` is what was previous, and the other way round."""

    model: str
    champion: str
    previous: str
    aliases: Mapping[str, str]


def rollback(model: str) -> Rollback:
    """Let champion and previous change places; a second rollback takes the first back.

    Raises:
        DtiError: there is no previous champion.
    """
    with releasing(), exclusive() as client:
        find_version(client, model)
        aliases = aliases_of(client, model)
        if PREVIOUS not in aliases or CHAMPION not in aliases:
            raise DtiError(f"{model}: there is no previous champion to go back to")
        after = after_rollback(aliases)
        tags = {"gate.decision": "rolled back", "gate.against": after[CHAMPION], "gate.at": _now()}
        move(client, model, after, {after[PREVIOUS]: tags})
    return Rollback(model, after[CHAMPION], after[PREVIOUS], after)


def rollback_table(done: Rollback) -> str:
    """The rollback as text for the terminal."""
    line = f"{done.model}: version {done.champion} is champion again, in place of version {done.previous}"
    return f"{line}\n{_places(done.aliases)}"
