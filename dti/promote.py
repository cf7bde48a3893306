"""`python -m dti promote [VERSION]`: make a version the champion, if the rule of params.yaml allows it."""

import argparse
import sys

from dti.params import load_params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the version and whether to force it."""
    parser.add_argument("version", nargs="?", metavar="VERSION", help="its number or alias; default: the newest")
    parser.add_argument("--force", action="store_true", help="promote it whatever the rule says; this is recorded")


def run(arguments: argparse.Namespace) -> None:
    """Decide about a version of ``dti-ctr-<data.name>`` and print the decision; exit code 2 says refused.

    Raises:
        DtiError: there is no such version, or it cannot be compared.
    """
    params = load_params()
    from dti.registry.gate import decision_table, promote  # MLflow takes seconds to load
    from dti.registry.versions import model_name

    decision = promote(model_name(params.data.name), params.promote, arguments.version, force=arguments.force)
    print(decision_table(decision))
    if not decision.promoted:
        sys.exit(2)
