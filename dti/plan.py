"""`python -m dti plan`: what training on data/packed would cost, for these parameters and other ways to train."""

import argparse
import math
from pathlib import Path

from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.params import load_params
from dti.prompts.store import Store
from dti.training.plan import Cost, Planner, facts, table, ways

NEAR = 0.25
"""A prediction this far from the run, at most, is a good one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--steps``, ``--seconds``, ``--check`` and ``--json``."""
    parser.add_argument("--steps", type=int, default=20, help="steps to time, at least (default 20)")
    parser.add_argument("--seconds", type=float, default=20, help="how long to time them, at least (default 20)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with the last run, reports/train.json")
    what.add_argument("--json", type=Path, metavar="FILE", help="write the plan for programs, too")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print the plan, or how near it comes to the last run.

    Raises:
        DtiError: there is no packed data; with ``--check``: no run of these parameters, or one that took otherwise.
    """
    if arguments.steps < 1:
        raise DtiError("--steps must be at least 1")
    if not 0 <= arguments.seconds < math.inf:
        raise DtiError("--seconds must be 0 or more")
    params, store = load_params(), Store.open(Path("data/packed"))
    if store.meta.counts.train == 0:
        raise DtiError(f"{store.folder}: no training targets; lower data.min_context or give more data")
    planner = Planner(store, params, arguments.steps, arguments.seconds)
    if arguments.check:
        check(planner.cost(ways(params, store.meta.k)[0], []), planner.targets)
    else:
        costs = planner.costs()
        print(table(costs, params))
        if arguments.json:
            write_json(arguments.json, facts(costs, params))


def check(cost: Cost, targets: int) -> None:
    """Compare with the run that reports/train.json tells of; both are of so many targets an epoch.

    Raises:
        DtiError: there is none on this data, or it took more or less by a quarter.
    """
    report = read_json(Path("reports/train.json"))
    if report["train_targets"] != targets:
        raise DtiError("reports/train.json is of a run on other data, or other train.targets; run `dvc repro`")
    hours, actual = cost.hours * report["epochs"], report["training_hours"]
    off = hours / actual - 1
    print(f"predicted {hours:.4f} h for {report['epochs']} epochs, took {actual:.4f} h: off by {off:+.1%}")
    if report.get("peak_bytes"):
        print(f"memory: predicted {cost.memory / 2**30:.2f} GiB, took {report['peak_bytes'] / 2**30:.2f} GiB at most")
    if abs(off) > NEAR:
        raise DtiError(f"off by more than {NEAR:.0%}: were other parameters, another machine or other work in play?")
