"""`python -m dti rollback`: the previous champion is champion again."""

import argparse

from dti.params import load_params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`rollback` takes no arguments: params.yaml names the data set."""


def run(arguments: argparse.Namespace) -> None:
    """Swap champion and previous of ``dti-ctr-<data.name>``.

    Raises:
        DtiError: there is no previous champion.
    """
    name = load_params().data.name
    from dti.registry.gate import rollback, rollback_table  # MLflow takes seconds to load
    from dti.registry.versions import model_name

    print(rollback_table(rollback(model_name(name))))
