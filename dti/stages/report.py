"""Stage report: all that a run left -> reports/report.html and reports/report.md."""

from pathlib import Path

from dti.errors import run_or_exit
from dti.params import load_params
from dti.report.build import build
from dti.report.write import write


def main() -> None:
    """Report on the run in the project's folder."""
    write(build(Path(), load_params().evaluate.bootstrap), Path("reports"))


if __name__ == "__main__":
    run_or_exit(main)
