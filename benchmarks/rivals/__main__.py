"""Classic models on the packed data: same split, targets, labels and n as the language model, tuned within a budget.

    make baselines                                      # installs DeepCTR-Torch, then runs all
    python -m benchmarks.rivals --models DIN --trials 8 --minutes 60

Each model gets --trials settings (the first one fixed, then random draws) of at most --epochs epochs, and begins none
after --minutes; the best validation AUC wins, and it alone is scored on the test split. Results: reports/rivals/*.json
and one MLflow run each.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.rivals.features import Features
from benchmarks.rivals.models import NAMES, Trained, load_library, score, settings, train
from dti.errors import DtiError, run_or_exit
from dti.evaluation.report import model_metrics
from dti.files import read_json, write_json
from dti.params import Params, load_params
from dti.prompts.store import Store

REPORTS = Path("reports/rivals")
COLUMNS = ("auc", "auc_low", "auc_high", "log_loss", "gauc", "f1", "ece")


def tune(name: str, features: Features, given: argparse.Namespace) -> list[Trained]:
    """Train the settings that the budget allows, the best one first; only that one keeps its model."""
    begun, done = time.monotonic(), list[Trained]()
    for number, setting in enumerate(settings(given.trials, given.seed), 1):
        if number > 1 and time.monotonic() - begun > 60 * given.minutes:
            print(f"{name}: {given.minutes:g} minutes are over after {number - 1} trials", flush=True)
            break
        budget = {"epochs": given.epochs, "patience": given.patience, "seed": given.seed}
        found = train(name, features, setting, **budget)
        print(f"{name} trial {number}: validation AUC {found.valid_auc:.4f}, {setting}", flush=True)
        done.append(found)
        best = max(done, key=lambda trained: trained.valid_auc)
        for other in done:
            if other is not best:
                other.model = None
    return sorted(done, key=lambda trained: -trained.valid_auc)


def report(
    name: str, features: Features, trials: list[Trained], store: Store, given: argparse.Namespace
) -> dict[str, Any]:
    """The content of ``reports/rivals/NAME.json``."""
    best, params, meta = trials[0], load_params(), store.meta
    valid, test = (
        features.scored(rows, score(best.model, features, rows))
        for rows in (features.targets("valid"), features.targets("test"))
    )
    library = load_library()
    return {
        "model": name,
        "library": f"DeepCTR-Torch {library.__version__}",
        **{key: getattr(meta, key) for key in ("dataset", "title", "official", "n", "context_labels", "digest")},
        **model_metrics(valid, test, params.evaluate.bootstrap, params.train.seed),
        "valid_auc": best.valid_auc,
        "test_targets": test.label.size,
        "train_targets": meta.counts.train,
        "parameters": best.parameters,
        "training_hours": best.hours,
        "tuning_hours": sum(trial.hours for trial in trials),
        "targets_per_second": meta.counts.train * best.epochs / best.hours / 3600,
        "features": ["user", "item", *features.fields_M, "history"],
        "budget": {name: getattr(given, name) for name in ("trials", "epochs", "patience", "minutes")},
        "seed": given.seed,
        "trials": [
            asdict(trial.setting) | {key: getattr(trial, key) for key in ("valid_auc", "epochs", "best_epoch", "hours")}
            for trial in trials
        ],
    }


def record(name: str, found: dict[str, Any], params: Params) -> None:
    """One MLflow run in the experiment of the language model's runs."""
    from dti.files import digest_of
    from dti.registry.record import Record
    from dti.registry.tracking import describe, record_run

    path = REPORTS / f"{name}.json"
    key = digest_of([path])
    metrics = {name: float(value) for name, value in found.items() if type(value) in (int, float)}
    chosen = {**found["trials"][0], **{name: found[name] for name in ("n", "context_labels", "library")}}
    tags = {"dti.key": key, "dti.dataset": found["dataset"], "dti.rival": name, "dti.packed": found["digest"]}
    run = Record(
        key=key,
        name=f"{found['dataset']} rival {name}",
        params={name: str(value) for name, value in chosen.items()},
        metrics=metrics,
        curves={},
        tags=tags,
        artifacts={"rivals": path},
    )
    print(describe(record_run(run, params.track.experiment)))


def table(names: list[str]) -> str:
    """The results in reports/rivals, beside those of reports/metrics.json if they are of the same data."""
    rows = [read_json(REPORTS / f"{name}.json") for name in names]
    ours = Path("reports/metrics.json")
    if ours.exists() and (found := read_json(ours))["title"] == rows[0]["title"]:
        rows.append(found | {"model": f"DTI ({found['paradigm']}, k = {found['k']}, {found['backbone']})"})
    head = f"{'':32}" + "".join(f"{column:>10}" for column in (*COLUMNS, "hours"))
    return "\n".join([rows[0]["title"], head, *(_line(row) for row in rows)])


def _line(row: dict[str, Any]) -> str:
    values = [row[column] for column in (*COLUMNS, "training_hours")]
    return f"{row['model']:32}" + "".join(f"{'-' if value is None else f'{value:.4f}':>10}" for value in values)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--trials", type=int, default=4, help="settings tried per model")
    parser.add_argument("--minutes", type=float, default=30, help="no trial of a model begins after these")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--patience", type=int, default=2, help="epochs without a better validation AUC")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Tune, score, report and record each model.

    Raises:
        DtiError: nothing is packed, there is no validation or test split, or the library is missing.
    """
    given, params = parse(), load_params()
    store = Store.open(Path("data/packed"))
    if not (store.meta.counts.valid and store.meta.counts.test):
        raise DtiError("data/packed has no validation or test targets; set data.split to time")
    load_library()
    features = Features.of(store, Path("data/interim"), params)
    for name in given.models:
        trials = tune(name, features, given)
        found = report(name, features, trials, store, given)
        write_json(REPORTS / f"{name}.json", found)
        record(name, found, params)
    print(table(given.models))


if __name__ == "__main__":
    run_or_exit(main)
