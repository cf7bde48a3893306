"""The plot: ratios by k and by n, and cost by history length, each beside the cost model."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.outcome import Result
from benchmarks.rows import KS
from dti.files import atomic_file
from dti.training import flops
from dti.training.flops import Shape, Tuning


def draw(target: Path, content: Result, shape: Shape) -> None:
    """Ratio against k beside the cost model, and, where they were measured, against n, and cost against history."""
    n_points = content.get("contexts", [])
    panels = 1 + bool(n_points) + bool(content["history"])
    figure = Figure(figsize=(12, 4.5 * panels), layout="constrained")
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
        axes.errorbar(*_measured(list(behind), others), fmt="s", label="others")
    ticks = [f"k = {k}" for k in KS]
    ticks += [f"{r['name'].replace('-', chr(10))}\n{r['targets_per_step']:,}\n{r['tuning']}" for r in others]
    axes.set_xticks(range(len(ticks)), ticks, fontsize=6.5)
    axes.set(yscale="log", ylabel="targets/s, sliding window = 1", title=f"Training speed, {content['setup']['size']}")


def _measured(places: list[int], results: list[Result]) -> tuple[list[int], list[float], list[list[float]]]:
    """Places, ratios and their distances to the rounds' extremes."""
    down = [r["ratio"] - r["ratio_low"] for r in results]
    up = [r["ratio_high"] - r["ratio"] for r in results]
    return places, [r["ratio"] for r in results], [down, up]


def _history(axes: Axes, points: Sequence[Result]) -> None:
    """Seconds against length; the cost model's lines are its FLOPs at the rate that the first row reached.

    Points of older results name no k, which their row has alone, and have no FLOPs: they get no such lines.
    """
    points = [{"k": 1 if p["name"] == "sliding" else "all"} | p for p in points]
    first = [p for p in points if p["name"] == points[0]["name"]]
    known = all("predicted_flops" in p for p in points)
    rate = median(p["predicted_flops"] / p["seconds"] for p in first) if known else None
    for number, (name, k) in enumerate(dict.fromkeys((p["name"], p["k"]) for p in points)):
        own, colour = [p for p in points if (p["name"], p["k"]) == (name, k)], f"C{number}"
        places, seconds = [p["interactions"] for p in own], [p["seconds"] for p in own]
        spread = [[p["seconds"] - p["low"] for p in own], [p["high"] - p["seconds"] for p in own]]
        if rate is not None:
            axes.plot(places, [p["predicted_flops"] / rate for p in own], "--", color=colour)
        note = "" if rate is None else " (dashed: cost model)"
        axes.errorbar(places, seconds, spread, fmt="o-", color=colour, label=f"{name}, k = {k}{note}")
    axes.set(xscale="log", yscale="log", xlabel="interactions of a user", ylabel="seconds to train on all its targets")


def _contexts(axes: Axes, points: Sequence[Result]) -> None:
    """Ratio against n; the table's own rows stand among the points."""
    for number, (name, k) in enumerate((("window", 50), ("isolated", "all"))):
        own = sorted((p for p in points if (p["name"], p["k"]) == (name, k)), key=lambda p: p["n"])
        places, colour = [p["n"] for p in own], f"C{number}"
        axes.plot(places, [p["predicted_ratio"] for p in own], "--", color=colour, label=f"{name}, k = {k}, cost model")
        axes.errorbar(*_measured(places, own), fmt="o", color=colour, label=f"{name}, k = {k}")
    axes.set(xlabel="n, context interactions", ylabel="targets/s, sliding window = 1")
