"""Stage track: reports/ and models/adapter -> one MLflow run, model and version per result, and the result table."""

from pathlib import Path

from dti.errors import run_or_exit
from dti.evaluation.table import result_table
from dti.files import read_json
from dti.params import load_params
from dti.registry.tracking import describe
from dti.registry.versions import track


def main() -> None:
    """Record the results that lie in the project's folder, unless they are recorded, and print the result table."""
    place, version = track(Path(), load_params())
    lines = [describe(place), *([f"version     {version.uri}"] if version else [])]
    print(result_table(read_json(Path("reports/metrics.json")), "\n".join(lines)))


if __name__ == "__main__":
    run_or_exit(main)
