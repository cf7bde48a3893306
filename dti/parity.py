"""`python -m dti parity`: the parity gap of models/adapter on data/packed, measured now."""

import argparse
from pathlib import Path

from dti.errors import DtiError
from dti.evaluation.parity import measure_parity, parity_table
from dti.files import write_json
from dti.model.adapter import load
from dti.model.catalogue import give_states
from dti.model.device import device_of
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
    attention, tokens = params.attention, params.train.tokens_per_pass
    device = device_of(params.train.device)
    model, record = load(Path("models/adapter"), attention.backend, device, attention.layout)
    if record.packed_digest != store.meta.digest:
        raise DtiError("models/adapter was trained on other packed data than data/packed; run `dvc repro`")
    give_states(model, store, tokens, "fp32")
    report = measure_parity(model, store, params.evaluate.parity_targets, tokens).report()
    print(parity_table(report))
    write_json(Path("reports/parity.json"), report)
