"""The pack stage: data/interim -> data/packed, reports/pack.json."""

from pathlib import Path

from dti.errors import run_or_exit
from dti.files import write_json
from dti.params import load_params
from dti.prompts.pack import pack
from dti.workers import mapper_of


def main() -> None:
    """Pack the interim data as params.yaml says."""
    params = load_params()
    with mapper_of(params.workers) as mapper:
        report = pack(params, Path("data/interim"), Path("data/packed"), mapper)
    write_json(Path("reports/pack.json"), report)


if __name__ == "__main__":
    run_or_exit(main)
