"""Stage track: reports/ and models/adapter -> one MLflow run per result, and the result table."""

from pathlib import Path

from dti.errors import run_or_exit
from dti.evaluation.table import result_table
from dti.files import read_json
from dti.params import load_params
from dti.registry.record import read_record
from dti.registry.tracking import describe, record_run


def main() -> None:
    """Record the results that lie in the project's folder, unless they are recorded, and print the result table."""
    params = load_params()
    place = record_run(read_record(Path(), params), params.track.experiment)
    print(result_table(read_json(Path("reports/metrics.json")), describe(place)))


if __name__ == "__main__":
    run_or_exit(main)
