"""Stage evaluate: packed data and adapter -> data/scores/, reports/{metrics,parity}.json, reports/plots/."""

from pathlib import Path

import numpy as np

from dti.errors import DtiError, run_or_exit
from dti.evaluation.baselines import Baselines, baselines
from dti.evaluation.parity import measure_parity
from dti.evaluation.plots import write_plots
from dti.evaluation.report import assemble_metrics
from dti.evaluation.scoring import score_split, write_scores
from dti.files import atomic_folder, read_json, write_json
from dti.model.adapter import load
from dti.model.catalogue import give_states
from dti.model.device import device_of
from dti.params import load_params
from dti.prompts.store import Store

REPORTS = Path("reports")


def main() -> None:
    """Score validation and test targets with models/adapter, and report how good it is beside the baselines."""
    params = load_params()
    store = Store.open(Path("data/packed"))
    attention, device = params.attention, device_of(params.train.device)
    model, record = load(Path("models/adapter"), attention.backend, device, attention.layout)
    if record.packed_digest != store.meta.digest:
        raise DtiError("models/adapter was trained on other packed data than data/packed; run `dvc repro`")
    tokens = params.train.tokens_per_pass
    give_states(model, store, tokens, "fp32")
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
