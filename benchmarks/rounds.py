"""Rows measured in turns: the table, and the curves over a user's history and over n."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from benchmarks.measure import Bench, Paradigm, Step
from benchmarks.outcome import H100, Result, bound_of, compare, mfu_of, result_of
from benchmarks.workloads import content_per_interaction, one_user
from dti.prompts.packing import stream_prompts

CURVE = ("targets_per_second", "ratio", "ratio_low", "ratio_high", "predicted_ratio")
BY_HISTORY = (("sliding", 1), ("window", "all"), ("isolated", "all"))
HISTORY_ROUNDS = 3
Keep = Callable[[list[Result]], None]


def warmed(bench: Bench, paradigm: Paradigm, warmup: int, seconds: float) -> int:
    """Warm up, and find how many targets a timed step shall hold: the fastest step so far decides the next one's size.

    What a step compiles slows it; its rate would cut the timed ones to a few launches.
    """
    filling, fastest = bench.filling(paradigm), 0.0
    for _ in range(warmup):
        step = bench.step(paradigm, *next(bench.steps(paradigm, paradigm.piece(fastest, seconds, filling))))
        fastest = max(fastest, step.targets / step.seconds)
    return paradigm.piece(fastest, seconds, filling)


def nothing(results: list[Result]) -> None:
    """Keep no rounds."""


def measure(
    bench: Bench, paradigms: Sequence[Paradigm], given: argparse.Namespace, keep: Keep = nothing
) -> list[Result]:
    """All rows, warmed up, then in turns, every other round backwards; ``keep`` gets the results after each round."""
    pieces = [warmed(bench, p, given.warmup, given.seconds) for p in paradigms]
    feeds = [bench.steps(p, piece) for p, piece in zip(paradigms, pieces, strict=True)]
    steps: list[list[Step]] = [[] for _ in paradigms]
    results: list[Result] = []
    for number in range(given.rounds):
        turn = list(zip(paradigms, feeds, steps, strict=True))
        for paradigm, feed, taken in turn if number % 2 == 0 else reversed(turn):
            taken.append(bench.round(paradigm, feed))
        print(f"round {number + 1}/{given.rounds}", file=sys.stderr, flush=True)
        results = results_of(bench, paradigms, steps, given.peak or H100)
        keep(results)
    return results


def results_of(
    bench: Bench, paradigms: Sequence[Paradigm], steps: Sequence[Sequence[Step]], peak: float
) -> list[Result]:
    """Result rows of the rounds so far; MFU, on a GPU, is a share of ``peak`` FLOP/s."""
    n, c = bench.store.meta.n, content_per_interaction(bench.store)
    results = [result_of(p, taken, bench.shape, n, c) for p, taken in zip(paradigms, steps, strict=True)]
    compare(results)
    for result in results if bench.device.type == "cuda" else ():
        result["mfu"] = mfu_of(result["flops_per_target"], result["targets_per_second"], peak)
    return results


def history(bench: Bench, paradigms: Sequence[Paradigm], lengths: Sequence[int]) -> list[Result]:
    """What training on all targets of one user costs, by the length of its history: in turns, each length warmed up."""
    chosen = [p for p in paradigms if (p.name, p.k) in BY_HISTORY and p.tuning == paradigms[0].tuning]
    points = []
    for length in lengths:
        alone = replace(bench, store=one_user(bench.store, length))
        prompts = [stream_prompts(alone.store, "train", p.k) for p in chosen]
        turns = [
            [alone.step(p, own) for p, own in zip(chosen, prompts, strict=True)] for _ in range(HISTORY_ROUNDS + 1)
        ]
        for number, paradigm in enumerate(chosen):
            steps = [turn[number] for turn in turns[1:]]
            points.append({"interactions": length} | _history_point(alone, paradigm, steps))
    return points


def _history_point(bench: Bench, paradigm: Paradigm, steps: Sequence[Step]) -> Result:
    """Counted tokens and seconds of one user's targets, and the cost model's FLOPs for as many of full context."""
    n, c, targets = bench.store.meta.n, content_per_interaction(bench.store), steps[0].targets
    bound = bound_of(paradigm, n, c, 0, 0).flops(bench.shape, paradigm.tuning) * targets
    seconds = [step.seconds for step in steps]
    facts = {"name": paradigm.name, "k": paradigm.k, "targets": targets, "tokens": int(steps[0].work.tokens)}
    spread = {"seconds": median(seconds), "low": min(seconds), "high": max(seconds)}
    return facts | {"predicted_flops": bound} | spread


def contexts(bench: Bench, paradigms: Sequence[Paradigm], given: argparse.Namespace) -> list[Result]:
    """The ratios of three rows at other n: the same histories, of which more or less is read."""
    wanted = (("sliding", 1), ("window", 50), ("isolated", "all"))
    chosen = [p for p in paradigms if (p.name, p.k) in wanted and p.tuning == paradigms[0].tuning]
    points = []
    for n in given.contexts:
        other = replace(bench, store=replace(bench.store, meta=replace(bench.store.meta, n=n)))
        for result in measure(other, chosen, given):
            points.append({"n": n, "name": result["name"], "k": result["k"]} | {key: result[key] for key in CURVE})
    return points
