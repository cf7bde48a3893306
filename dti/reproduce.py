"""`python -m dti reproduce VERSION`: rebuild a version from its commit, parameters and data, and compare."""

import argparse

from dti.errors import DtiError
from dti.params import load_params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the version."""
    parser.add_argument("version", metavar="VERSION", help="its number or alias, such as champion")


def run(arguments: argparse.Namespace) -> None:
    """Rebuild a version of ``dti-ctr-<data.name>`` and print both runs' metrics.

    Raises:
        DtiError: it cannot be rebuilt, or a metric differs.
    """
    name = load_params().data.name
    from dti.registry.rebuild import rebuild, rebuilt_table  # MLflow takes seconds to load
    from dti.registry.versions import model_name

    found = rebuild(model_name(name), arguments.version)
    print(rebuilt_table(found))
    if not found.equal:
        differing = ", ".join(line.name for line in found.lines if not line.equal)
        raise DtiError(
            f"{found.version}: metrics differ: {differing}. On the same machine they should not; on another one, or "
            f"with other packages, sums differ in their last digits. The rerun lies in {found.folder}"
        )
