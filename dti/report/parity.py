"""Parity: whether a target gets the same logit in streaming prompts as in its serving prompt."""

from dti.evaluation.numbers import number
from dti.report.document import Section, Table, Words, cells
from dti.report.run import Run

SOURCE = "`reports/parity.json`"


def section(run: Run) -> Section:
    """The gaps by k, and what scores were taken on."""
    gaps = run.parity["k"]
    if not gaps:
        return Section("parity", "Parity", [Words(["No targets are held out, so none were compared."])])
    rows = [
        cells(
            k, *(f"{gap[name]:.1e}" for name in ("mean", "p99", "max")), *_aucs(gap["auc_stream"], gap["auc_serving"])
        )
        for k, gap in gaps.items()
    ]
    head = ["k", "mean gap", "99 %", "largest", "AUC, stream", "AUC, serving", "change"]
    note = (
        f"{run.parity['targets']:,} {run.parity['split']} targets of randomly chosen users: |logit in a stream of k "
        "targets - logit in the serving prompt|, same weights."
    )
    return Section(
        "parity", "Parity", [Table("Streams against serving prompts", head, rows, SOURCE, [note]), _words(run)]
    )


def _aucs(stream: float | None, serving: float | None) -> tuple[str, str, str]:
    change = None if stream is None or serving is None else stream - serving
    return number(stream), number(serving), number(change, "+.4f")


def _words(run: Run) -> Words:
    if run.metrics["scored_on"] == "stream":
        text = "The gap is rounding: streams stand in for serving prompts, and the test scores were taken on streams."
    elif run.metrics["policy"] == "window":
        text = (
            "Policy `window` lets states carry interactions from beyond the window, which serving prompts do not have; "
            "the test scores were taken on serving prompts."
        )
    else:
        text = "The test scores were taken on serving prompts, the score of record."
    return Words([text])
