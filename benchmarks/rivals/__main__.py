"""Classic models on the packed data: same split, targets, labels and n as the language model, tuned within a budget.

    make baselines                                      # installs DeepCTR-Torch, then runs all on data/packed
    python -m benchmarks.rivals --models DIN --trials 8 --minutes 60
    python -m benchmarks.rivals --grid benchmarks/study/ml-100k.yaml --results benchmarks/study/ml-100k/rivals

Popularity and logistic regression have nothing to tune. Each other model gets --trials settings (the first one fixed,
then random draws) of at most --epochs epochs, and begins no trial and no epoch after --minutes of processor time, from
which other work on the machine takes nothing; the best validation AUC wins, and it alone is scored on the test split.
With several --seeds the first one tunes, and the others train the chosen setting anew. Each result: two files in
reports/rivals/ and an MLflow run.
"""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path

from benchmarks.rivals import simple
from benchmarks.rivals.features import Features
from benchmarks.rivals.models import NAMES, Setting, Trained, load_library, score, settings, train
from benchmarks.rivals.results import Scored, record, table, write
from dti.errors import DtiError, run_or_exit
from dti.params import load_params
from dti.prompts.store import Store
from dti.sweep.command import sweep_of
from dti.sweep.grid import filled
from dti.workspace import Workspace

REPORTS = Path("reports/rivals")
ALL = (*simple.NAMES, *NAMES)


def tune(name: str, features: Features, given: argparse.Namespace) -> list[Trained]:
    """Train the settings that the budget allows, the best one first; only that one keeps its model."""
    until, done = time.process_time() + 60 * given.minutes, list[Trained]()
    drawn = settings(given.trials, given.seeds[0], features.targets("train").size)
    for number, setting in enumerate(drawn, 1):
        if number > 1 and time.process_time() > until:
            print(f"{name}: {given.minutes:g} minutes of processor time are over after {number - 1} trials", flush=True)
            break
        found = train(name, features, setting, **_budget(given), seed=given.seeds[0], until=until)
        print(f"{name} trial {number}: validation AUC {found.valid_auc:.4f}, {setting}", flush=True)
        done.append(found)
        best = max(done, key=lambda trained: trained.valid_auc)
        for other in done:
            if other is not best:
                other.model = None
    return sorted(done, key=lambda trained: -trained.valid_auc)


def _budget(given: argparse.Namespace) -> dict[str, int]:
    return {"epochs": given.epochs, "patience": given.patience}


def _scored(name: str, features: Features, trials: list[Trained], seed: int) -> Scored:
    best = trials[0]
    valid, test = (
        features.scored(rows, score(best.model, features, rows))
        for rows in (features.targets("valid"), features.targets("test"))
    )
    facts = ("valid_auc", "epochs", "best_epoch", "hours", "processor_hours")
    return Scored(
        name,
        f"DeepCTR-Torch {load_library().__version__}",
        valid,
        test,
        seed,
        best.valid_auc,
        best.parameters,
        best.hours,
        best.processor_hours,
        sum(trial.processor_hours for trial in trials),
        best.epochs,
        [asdict(trial.setting) | {fact: getattr(trial, fact) for fact in facts} for trial in trials],
    )


def networks(name: str, features: Features, given: argparse.Namespace) -> Iterator[Scored]:
    """Tune with the first seed, then train the chosen setting with each of the others."""
    trials = tune(name, features, given)
    yield _scored(name, features, trials, given.seeds[0])
    chosen: Setting = trials[0].setting
    for seed in given.seeds[1:]:
        yield _scored(name, features, [train(name, features, chosen, **_budget(given), seed=seed)], seed)


def packed(grid: Path) -> Path:
    """The folder of a workspace that packs the data of a grid's first cell.

    Raises:
        DtiError: a wrong grid, the pipeline failed, or another process is at it.
    """
    sweep = sweep_of(grid)
    workspace = Workspace(sweep.work / "rivals", sweep.root)
    with workspace.held() as mine:
        if not mine:
            raise DtiError(f"{workspace.folder}: another process is at it; wait for it")
        workspace.make(filled(sweep.cells[0].parameters))
        workspace.run(["pack"])
    return workspace.folder


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, help="pack the data of this grid's first cell; else data/packed is taken")
    parser.add_argument("--results", type=Path, default=REPORTS, help=f"where the results go ({REPORTS})")
    parser.add_argument("--models", nargs="+", choices=ALL, default=list(ALL))
    parser.add_argument("--trials", type=int, default=4, help="settings tried per model")
    parser.add_argument(
        "--minutes", type=float, default=30, help="of processor time, after which no trial or epoch begins"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--patience", type=int, default=2, help="epochs without a better validation AUC")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="the first one tunes")
    return parser.parse_args()


def run(given: argparse.Namespace) -> None:
    """Tune, score, report and record each model on data/packed.

    Raises:
        DtiError: nothing is packed, there is no validation or test split, or the library is missing.
    """
    params, store = load_params(), Store.open(Path("data/packed"))
    if not (store.meta.counts.valid and store.meta.counts.test):
        raise DtiError("data/packed has no validation or test targets; set data.split to time")
    load_library()
    features = Features.of(store, Path("data/interim"), params)
    names = ["user", "item", *features.fields_M, "history"]
    budget = {name: getattr(given, name) for name in ("trials", "epochs", "patience", "minutes")}
    paths = []
    for found in _each(features, given):
        paths.append(write(found, given.results, store, params.evaluate.bootstrap, names, budget))
        print(record(paths[-1], params), flush=True)
    print(table(paths))


def _each(features: Features, given: argparse.Namespace) -> Iterator[Scored]:
    both = simple.simple(features, given.seeds[0]) if set(given.models) & set(simple.NAMES) else ()
    yield from (found for found in both if found.model in given.models)
    for name in given.models:
        if name in NAMES:
            yield from networks(name, features, given)


def main() -> None:
    """Run in the project, or in the workspace of a grid."""
    given = parse()
    given.results = given.results.resolve()
    with chdir(packed(given.grid) if given.grid else os.curdir):
        run(given)


if __name__ == "__main__":
    run_or_exit(main)
