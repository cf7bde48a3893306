"""Stage train: packed prompts -> models/adapter, reports/train.json, reports/history.csv."""

import csv
from pathlib import Path

from dti.errors import run_or_exit
from dti.files import atomic_file, write_json
from dti.model.adapter import Record, save
from dti.model.backbone import check_quantisation
from dti.model.ctr import CtrModel
from dti.params import Params, load_params
from dti.prompts.store import Store
from dti.training.checkpoint import Named
from dti.training.launch import launch
from dti.training.ranks import Ranks
from dti.training.run import report, train
from dti.training.trainer import Trainer


def main() -> None:
    """Train with the parameters of params.yaml on data/packed; a killed run goes on from its last checkpoint."""
    params = load_params()
    check_quantisation(params.model.quantisation)
    launch(work, params.train.processes, params.train.device, params)


def work(ranks: Ranks, params: Params) -> None:
    """What each process does; the first one writes the results."""
    store = Store.open(Path("data/packed"))

    def finish(model: CtrModel, record: Record, trainer: Trainer, weights: Named) -> None:
        write_json(Path("reports/train.json"), report(model, record, trainer))
        with atomic_file(Path("reports/history.csv")) as partial, partial.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(trainer.state.history[0]))
            writer.writeheader()
            writer.writerows(trainer.state.history)
        save(Path("models/adapter"), model, record, store.folder / "tokenizer", weights)

    train(store, params, finish, ranks)


if __name__ == "__main__":
    run_or_exit(main)
