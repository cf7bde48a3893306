"""`python -m dti result`: the result table of the last run, and where its MLflow run is."""

import argparse
from pathlib import Path

from dti.evaluation.table import result_table
from dti.files import read_json
from dti.params import load_params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`result` takes no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Print the table of reports/metrics.json, then the MLflow run that records these very results.

    Raises:
        DtiError: there are no results yet, or MLflow cannot be reached.
    """
    print(result_table(read_json(Path("reports/metrics.json"))), flush=True)
    from dti.registry.record import result_key  # MLflow takes seconds to load; the table need not wait
    from dti.registry.tracking import describe, find_run

    place = find_run(result_key(Path()), load_params().track.experiment)
    print("\n" + (describe(place) if place else "MLflow run  none yet; `dvc repro` records these results"))
