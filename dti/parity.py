"""`python -m dti parity`: the parity gap of models/adapter on data/packed, measured now."""

import argparse
from pathlib import Path

from dti.evaluation.parity import measure_parity, parity_table
from dti.evaluation.trained import trained_model
from dti.files import write_json
from dti.params import load_params
from dti.prompts.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`parity` takes no arguments: params.yaml says how many targets, so that evaluate's report is made again."""


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the table, write reports/parity.json.

    Raises:
        DtiError: there is no adapter or no packed data, or they do not belong together.
    """
    params = load_params()
    store = Store.open(Path("data/packed"))
    model, _ = trained_model(store, params)
    report = measure_parity(model, store, params.evaluate.parity_targets, params.train.tokens_per_pass).report()
    print(parity_table(report))
    write_json(Path("reports/parity.json"), report)
