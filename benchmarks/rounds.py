"""Rows measured in turns: the table, and the curves over a user's history and over n."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from benchmarks.measure import Bench, Paradigm, Step
from benchmarks.outcome import Result, compare, result_of
from benchmarks.workloads import content_per_interaction, one_user
from dti.prompts.packing import stream_prompts

CURVE = ("targets_per_second", "ratio", "ratio_low", "ratio_high", "predicted_ratio")


def warmed(bench: Bench, paradigm: Paradigm, warmup: int, seconds: float) -> int:
    """Warm up, and find how many targets a timed step shall hold: each step's rate decides the size of the next."""
    piece = paradigm.piece(0, seconds)
    for _ in range(warmup):
        step = bench.step(paradigm, next(bench.steps(paradigm, piece)))
        piece = paradigm.piece(step.targets / step.seconds, seconds)
    return piece


def measure(bench: Bench, paradigms: Sequence[Paradigm], given: argparse.Namespace) -> list[Result]:
    """All rows, warmed up, then in turns."""
    pieces = [warmed(bench, p, given.warmup, given.seconds) for p in paradigms]
    feeds = [bench.steps(p, piece) for p, piece in zip(paradigms, pieces, strict=True)]
    steps: list[list[Step]] = [[] for _ in paradigms]
    for number in range(given.rounds):
        for paradigm, feed, taken in zip(paradigms, feeds, steps, strict=True):
            taken.append(bench.step(paradigm, next(feed)))
        print(f"round {number + 1}/{given.rounds}", file=sys.stderr, flush=True)
    n, c = bench.store.meta.n, content_per_interaction(bench.store)
    results = [result_of(p, taken, bench.shape, n, c) for p, taken in zip(paradigms, steps, strict=True)]
    compare(results)
    for result in results if bench.device.type == "cuda" else ():
        result["mfu"] = result["flops_per_target"] * result["targets_per_second"] / given.peak
    return results


def history(bench: Bench, paradigms: Sequence[Paradigm], lengths: Sequence[int], rounds: int) -> list[Result]:
    """What training on all targets of one user costs, by the length of its history."""
    chosen = [p for p in paradigms if p.name in ("sliding", "isolated") and p.tuning == paradigms[0].tuning]
    points = []
    for number, length in enumerate(lengths):
        alone = replace(bench, store=one_user(bench.store, length))
        untimed = int(number == 0 or bench.device.type == "cuda")  # there, new lengths may compile anew
        for paradigm in chosen:
            prompts = stream_prompts(alone.store, "train", paradigm.k)
            steps = [alone.step(paradigm, prompts) for _ in range(untimed + rounds)][untimed:]
            seconds = [step.seconds for step in steps]
            facts = {"interactions": length, "name": paradigm.name, "targets": steps[0].targets}
            cost = {"tokens": int(steps[0].work.tokens), "seconds": median(seconds)}
            points.append(facts | cost | {"low": min(seconds), "high": max(seconds)})
    return points


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
