"""What was measured, beside the cost model: result rows, the printed table, the same in Markdown."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.measure import Paradigm, Step
from dti.training import flops
from dti.training.flops import Shape, Work

COLUMNS: tuple[str, ...] = (
    "row",
    "tuning",
    "k",
    "layout",
    "content",
    "step",
    "targets/s",
    "low",
    "high",
    "ratio",
    "tokens/target",
)
COLUMNS += ("FLOP bound", "reached", "GiB", "MFU")
HEADS: tuple[str, ...] = (
    "paradigm",
    "k",
    "targets a step",
    "targets/s [lowest, highest]",
    "ratio to sliding window [lowest, highest]",
    "FLOP bound",
)
HEADS += ("reached", "tokens a target", "peak GiB", "MFU")
NAMES = {"sliding": "sliding window", "window": "window stream", "isolated": "isolated stream"}
NAMES |= {"unique": "isolated unique", "overlapping": "isolated unique, overlapping steps"}
NAMES |= {"frozen": "isolated unique, frozen content"}
NAMES |= {"sliding-blocks": "sliding window, SDPA's causal kernel"}
NAMES |= {"sliding-labels": "sliding window that reads label tokens"}
NAMES |= {"isolated-tokens": "isolated stream that reads all tokens"}
NAMES |= {"unique-tokens": "isolated unique that reads all tokens"}
H100 = 989e12
"""FLOP/s of an H100's tensor cores in bf16, without sparsity."""
MFU = "MFU = (6 N (full) or 4 N (LoRA) x tokens + 12 W (kept states: 8 W) x pairs read, in each layer that computes"
MFU += " them) of a target, counted from the rows, x targets/s / peak"
Result = dict[str, Any]


def bound_of(paradigm: Paradigm, n: int, c: float, distinct: float, labels: float) -> Work:
    """The cost model's tokens and pairs per target; the last two arguments as in ``flops.unique``."""
    if paradigm.content == "frozen":
        return flops.frozen(n, c, paradigm.context)
    if paradigm.layout == "unique":
        return flops.unique(n, c, paradigm.context, distinct, labels)
    form = flops.window if paradigm.policy == "window" else flops.isolated
    return form(n, paradigm.k, c, paradigm.context)


def result_of(paradigm: Paradigm, steps: Sequence[Step], shape: Shape, n: int, c: float) -> Result:
    """A result row, but for what compares it with the sliding window; rounds are kept under ``rates``."""
    rates = [step.targets / step.seconds for step in steps]
    targets, work = sum(s.targets for s in steps), sum((s.work for s in steps), Work())
    labels = sum(s.labels for s in steps) / max(1, sum(s.texts for s in steps))
    bound = bound_of(paradigm, n, c, sum(s.distinct for s in steps) / targets, labels)
    return {
        "name": paradigm.name,
        "tuning": paradigm.tuning,
        "k": paradigm.k,
        "policy": paradigm.policy,
        "context": paradigm.context,
        "layout": paradigm.layout,
        "content": paradigm.content,
        "composition": paradigm.composition,
        "targets_per_step": paradigm.targets,
        "timed_targets": steps[0].targets // paradigm.steps_a_round,
        "targets_per_second": median(rates),
        "low": min(rates),
        "high": max(rates),
        "rates": rates,
        "tokens_per_target": work.tokens / targets,
        "flops_per_target": work.flops(shape, paradigm.tuning) / targets,
        "bound_flops_per_target": bound.flops(shape, paradigm.tuning),
        "peak_bytes": max(s.peak for s in steps) or None,
        "mfu": None,
    }


def mfu_of(flops_per_target: float, targets_per_second: float, peak: float) -> float:
    """The share of a GPU's ``peak`` FLOP/s that the counted FLOPs of training (``Work.flops``) take."""
    return flops_per_target * targets_per_second / peak


def compare(results: list[Result]) -> None:
    """Add to each row its ratio to the sliding window of the same tuning, the fastest that was measured.

    ``ratio`` is the median of the rounds' own ratios, ``ratio_low`` and ``ratio_high`` are their extremes: what slows a
    round slows both of its rows.
    ``predicted_ratio`` is the cost model's, ``counted_ratio`` the same from the rows' counted FLOPs.
    """
    windows = [r for r in results if r["name"] in ("sliding", "sliding-blocks")]
    base = {r["tuning"]: r for r in sorted(windows, key=lambda r: r["targets_per_second"])}
    for result in results:
        sliding = base[result["tuning"]]
        rounds = [a / b for a, b in zip(result["rates"], sliding["rates"], strict=True)]
        result["ratio"], result["ratio_low"], result["ratio_high"] = median(rounds), min(rounds), max(rounds)
        result["predicted_ratio"] = sliding["bound_flops_per_target"] / result["bound_flops_per_target"]
        result["counted_ratio"] = sliding["flops_per_target"] / result["flops_per_target"]
        result["reached"] = result["ratio"] / result["predicted_ratio"]


def table(content: Result) -> str:
    """The result as text: a line on the setup, the rows, what frozen content cost beforehand, the curves."""
    setup, lines = content["setup"], [COLUMNS, *(_cells(r) for r in content["rows"])]
    width = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    shown = ["  ".join(cell.rjust(w) for cell, w in zip(line, width, strict=True)) for line in lines]
    facts = ", ".join(f"{name} {value:.4g}" if name == "peak" else f"{name} {value}" for name, value in setup.items())
    return "\n".join([facts, *shown, *_notes(content), *_curves(content)])


def _notes(content: Result) -> Iterator[str]:
    """What belongs to the rows: how far they got, how MFU is counted, what was done beforehand, where time went."""
    if not content.get("complete", True):
        yield f"STOPPED after {content['rounds_done']} of {content['setup']['rounds']} rounds, or before the curves"
    if any(r["mfu"] is not None for r in content["rows"]):
        yield f"{MFU} ({content['setup'].get('peak', H100) / 1e12:,.0f} TFLOP/s)"
    if content["catalogue"]:
        seconds, size = content["catalogue"]["seconds"], content["catalogue"]["bytes"] / 2**20
        yield f"frozen content: states computed once in {seconds:.1f} s, {size:,.0f} MiB, in no step above"
    if content.get("compile_seconds"):
        yield f"torch.compile took {content['compile_seconds']:.1f} s, in warm-up steps but for new lengths"
    for row in content["rows"]:
        if "profile" in row:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in row["profile"].items())
            yield f"profile of {row['name']} k = {row['k']}, {row['targets_per_step']:,}, {row['tuning']}: {shares}"


def _curves(content: Result) -> Iterator[str]:
    """Cost by history length, and ratios by n."""
    for point in content["history"]:
        spread = f"{point['seconds']:.2f} s [{point['low']:.2f}, {point['high']:.2f}]"
        yield f"history of {point['interactions']}: {point['name']} {point['tokens']:,} tokens, {spread}"
    for point in content.get("contexts", []):
        yield f"n = {point['n']}: {point['name']} k = {point['k']} {_ratio(point)}"


def markdown(content: Result) -> str:
    """The rows as a Markdown table; without the last column, MFU, where no row has one."""
    heads = HEADS if any(r["mfu"] is not None for r in content["rows"]) else HEADS[:-1]
    lines, before = [heads, ("---",) * len(heads)], ""
    for row in content["rows"]:
        name = NAMES[row["name"]] + (", LoRA" if row["tuning"] == "lora" else "")
        lines.append(("" if name == before else name, *_shown(row))[: len(heads)])
        before = name
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    if content.get("complete", True):
        return text
    return f"{text}\n\nStopped after {content['rounds_done']} of {content['setup']['rounds']} rounds."


def _shown(row: Result) -> tuple[str, ...]:
    """A Markdown row's cells behind the paradigm."""
    rate, low, high = (_rate(row[name]) for name in ("targets_per_second", "low", "high"))
    return (
        str(row["k"]),
        f"{row['targets_per_step']:,}",
        f"{rate} [{low}, {high}]",
        f"{row['ratio']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]",
        f"{row['predicted_ratio']:.1f}",
        f"{100 * row['reached']:.0f} %",
        f"{row['tokens_per_target']:.1f}",
        *_known(row),
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.3g}"


def _ratio(point: Result) -> str:
    rate, ratio, predicted = point["targets_per_second"], point["ratio"], point["predicted_ratio"]
    return f"{rate:,.1f} targets/s, ratio {ratio:.1f}, FLOP bound {predicted:.1f}"


def _cells(result: Result) -> tuple[str, ...]:
    texts = (result[name] for name in ("name", "tuning", "k", "layout", "content"))
    rates = (f"{result[name]:,.1f}" for name in ("targets_per_second", "low", "high"))
    return (
        *(str(text) for text in texts),
        f"{result['targets_per_step']:,}",
        *rates,
        f"{result['ratio']:.2f}",
        f"{result['tokens_per_target']:.1f}",
        f"{result['predicted_ratio']:.1f}",
        f"{result['reached']:.0%}",
        *_known(result),
    )


def _known(result: Result) -> tuple[str, str]:
    """Peak memory in GiB and MFU, each where it is known."""
    peak, mfu = result["peak_bytes"], result["mfu"]
    return "-" if peak is None else f"{peak / 2**30:.2f}", "-" if mfu is None else f"{mfu:.1%}"
