"""Stage evaluate: packed data and adapter -> data/scores/, reports/{metrics,parity}.json, reports/plots/."""

from pathlib import Path

import numpy as np

from dti.errors import run_or_exit
from dti.evaluation.baselines import Baselines, baselines
from dti.evaluation.parity import measure_parity
from dti.evaluation.plots import write_plots
from dti.evaluation.report import assemble_metrics
from dti.evaluation.scoring import score_split, write_scores
from dti.evaluation.trained import trained_model
from dti.files import atomic_folder, read_json, write_json
from dti.params import load_params
from dti.prompts.store import Store

REPORTS = Path("reports")


def main() -> None:
    """Score validation and test targets with models/adapter, and report how good it is beside the baselines."""
    params = load_params()
    store = Store.open(Path("data/packed"))
    tokens = params.train.tokens_per_pass
    model, record = trained_model(store, params)
    parity = measure_parity(model, store, params.evaluate.parity_targets, tokens)
    valid, _ = score_split(model, store, "valid", parity, tokens)
    test, scored_on = score_split(model, store, "test", parity, tokens)
    with atomic_folder(Path("data/scores")) as folder:
        write_scores(folder / "valid.parquet", store, valid)
        write_scores(folder / "test.parquet", store, test)
    beside = _baselines(store)
    metrics = assemble_metrics(
        valid=valid,
        test=test,
        baselines=beside,
        train=read_json(REPORTS / "train.json"),
        data=read_json(REPORTS / "data.json"),
        meta={"k": store.meta.k},
        adapter={"policy": record.sight.policy, "n": record.sight.n},
        seed=record.seed,
        bootstrap=params.evaluate.bootstrap,
        scored_on=scored_on,
    )
    write_json(REPORTS / "parity.json", parity.report())
    write_plots(test, beside["test"], REPORTS / "history.csv", REPORTS / "plots")
    write_json(REPORTS / "metrics.json", metrics)


def _baselines(store: Store) -> dict[str, Baselines]:
    columns = ("user", "item", "label", "split")
    user, item, label, split = (np.concatenate([getattr(s, name) for s in store.shards]) for name in columns)
    return baselines(user, item, label, split)


if __name__ == "__main__":
    run_or_exit(main)
