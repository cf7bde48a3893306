"""What was measured, beside the cost model: result rows, the printed table, the plot."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measure import Paradigm, Step
from dti.files import atomic_file
from dti.prompts.store import Targets
from dti.training import flops
from dti.training.flops import Shape, Tuning, Work

KS: tuple[Targets, ...] = (1, 5, 10, 50, 200, "all")
COLUMNS = ("row", "tuning", "k", "layout", "content", "step", "targets/s", "low", "high", "ratio", "tokens/target")
COLUMNS += ("FLOP bound", "reached", "GiB", "MFU")
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
        "targets_per_step": paradigm.targets,
        "timed_targets": steps[0].targets,
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


def compare(results: list[Result]) -> None:
    """Add to each row its ratio to the sliding window of the same tuning, measured, counted and predicted.

    ``ratio`` divides the medians; ``ratio_low`` and ``ratio_high`` are the extremes of the rounds' own ratios.
    ``predicted_ratio`` is the cost model's, ``counted_ratio`` the same from the rows' counted FLOPs.
    """
    base = {r["tuning"]: r for r in results if r["name"] == "sliding"}
    for result in results:
        sliding = base[result["tuning"]]
        rounds = [a / b for a, b in zip(result["rates"], sliding["rates"], strict=True)]
        result["ratio"] = result["targets_per_second"] / sliding["targets_per_second"]
        result["ratio_low"], result["ratio_high"] = min(rounds), max(rounds)
        result["predicted_ratio"] = sliding["bound_flops_per_target"] / result["bound_flops_per_target"]
        result["counted_ratio"] = sliding["flops_per_target"] / result["flops_per_target"]
        result["reached"] = result["ratio"] / result["predicted_ratio"]


def table(content: Result) -> str:
    """The result as text: a line on the setup, the rows, what frozen content cost beforehand, the curves."""
    setup, lines = content["setup"], [COLUMNS, *(_cells(r) for r in content["rows"])]
    width = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    shown = ["  ".join(cell.rjust(w) for cell, w in zip(line, width, strict=True)) for line in lines]
    facts = ", ".join(f"{name} {value}" for name, value in setup.items())
    parts = [facts, *shown]
    if content["catalogue"]:
        seconds, size = content["catalogue"]["seconds"], content["catalogue"]["bytes"] / 2**20
        parts.append(f"frozen content: states computed once in {seconds:.1f} s, {size:,.0f} MiB, in no step above")
    for point in content["history"]:
        parts.append(
            f"history of {point['interactions']}: {point['name']} {point['tokens']:,} tokens, {point['seconds']:.2f} s"
        )
    for point in content.get("contexts", []):
        parts.append(f"n = {point['n']}: {point['name']} k = {point['k']} {_ratio(point)}")
    return "\n".join(parts)


def _ratio(point: Result) -> str:
    rate, ratio, predicted = point["targets_per_second"], point["ratio"], point["predicted_ratio"]
    return f"{rate:,.1f} targets/s, ratio {ratio:.1f}, FLOP bound {predicted:.1f}"


def _cells(result: Result) -> tuple[str, ...]:
    peak, mfu = result["peak_bytes"], result["mfu"]
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
        "-" if peak is None else f"{peak / 2**30:.2f}",
        "-" if mfu is None else f"{mfu:.1%}",
    )


def draw(target: Path, content: Result, shape: Shape) -> None:
    """Ratio against k beside the cost model, and, where they were measured, against n, and cost against history."""
    n_points = content.get("contexts", [])
    panels = 1 + bool(n_points) + bool(content["history"])
    figure = Figure(figsize=(9, 4.5 * panels), layout="constrained")
    axes = figure.subplots(panels, squeeze=False)[:, 0]
    _ratios(axes[0], content, shape)
    if n_points:
        own = [r | {"n": content["setup"]["n"]} for r in content["rows"] if r["tuning"] == content["rows"][0]["tuning"]]
        _contexts(axes[1], [*n_points, *own])
    if content["history"]:
        _history(axes[-1], content["history"])
    for panel in axes:
        panel.grid(alpha=0.3)
        panel.legend()
    with atomic_file(target) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})


def _ratios(axes: Axes, content: Result, shape: Shape) -> None:
    """Windows by k; every other row has a place of its own behind them."""
    n, c = content["setup"]["n"], content["setup"]["c"]
    tuning: Tuning = content["rows"][0]["tuning"]
    streams = [r for r in content["rows"] if r["name"] in ("sliding", "window") and r["tuning"] == tuning]
    others = [r for r in content["rows"] if r["name"] not in ("sliding", "window")]
    cost = [flops.window(n, k, c, "all").flops(shape, tuning) for k in KS]
    axes.plot(range(len(KS)), [cost[0] / x for x in cost], "k--", label="cost model")
    behind = range(len(KS), len(KS) + len(others))
    axes.plot(behind, [r["predicted_ratio"] for r in others], "k_", markersize=18)
    axes.errorbar(*_measured([KS.index(r["k"]) for r in streams], streams), fmt="o-", label="sliding and window")
    if others:
        axes.errorbar(*_measured(list(behind), others), fmt="s", label="isolated")
    ticks = [f"k = {k}" for k in KS]
    ticks += [f"{r['name']}\n{r['targets_per_step']:,}\n{r['tuning']}" for r in others]
    axes.set_xticks(range(len(ticks)), ticks, fontsize=7)
    axes.set(yscale="log", ylabel="targets/s, sliding window = 1", title=f"Training speed, {content['setup']['size']}")


def _measured(places: list[int], results: list[Result]) -> tuple[list[int], list[float], list[list[float]]]:
    """Places, ratios and their distances to the rounds' extremes (none below 0: a median may lie outside them)."""
    down = [max(0.0, r["ratio"] - r["ratio_low"]) for r in results]
    up = [max(0.0, r["ratio_high"] - r["ratio"]) for r in results]
    return places, [r["ratio"] for r in results], [down, up]


def _history(axes: Axes, points: Sequence[Result]) -> None:
    for name in dict.fromkeys(p["name"] for p in points):
        own = [p for p in points if p["name"] == name]
        axes.plot([p["interactions"] for p in own], [p["seconds"] for p in own], "o-", label=name)
    axes.set(xscale="log", yscale="log", xlabel="interactions of a user", ylabel="seconds to train on all its targets")


def _contexts(axes: Axes, points: Sequence[Result]) -> None:
    """Ratio against n; the table's own rows stand among the points."""
    for number, (name, k) in enumerate((("window", 50), ("isolated", "all"))):
        own = sorted((p for p in points if (p["name"], p["k"]) == (name, k)), key=lambda p: p["n"])
        places, colour = [p["n"] for p in own], f"C{number}"
        axes.plot(places, [p["predicted_ratio"] for p in own], "--", color=colour, label=f"{name}, k = {k}, cost model")
        axes.errorbar(*_measured(places, own), fmt="o", color=colour, label=f"{name}, k = {k}")
    axes.set(xlabel="n, context interactions", ylabel="targets/s, sliding window = 1")
