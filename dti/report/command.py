"""`python -m dti report`: the report of the last run, or what differs between it and another run."""

import argparse
from pathlib import Path

from dti.errors import DtiError
from dti.home import home
from dti.params import Params, load_params

CHAMPION = "champion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to compare with, and where to write."""
    parser.add_argument(
        "--against",
        metavar="FOLDER",
        help=f"say what differs from the run whose reports/ and data/scores/ lie here, or from the {CHAMPION}",
    )
    parser.add_argument("--rivals", action="store_true", help="show what `make baselines` left, too")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="default: reports/, or with --against or --rivals report/ in DTI_HOME"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write report.html and report.md.

    Raises:
        DtiError: there is no run yet, its files do not belong together, or there is nothing to compare with.
    """
    from dti.report.build import build  # scikit-learn takes seconds; an unknown folder is told at once
    from dti.report.write import write

    params = load_params()
    other = folder_of(arguments.against, params) if arguments.against else None
    target = arguments.to or (home() / "report" if other or arguments.rivals else Path("reports"))
    name = "the champion" if arguments.against == CHAMPION else f"`{other.name}`" if other else ""
    for path in write(build(Path(), params.evaluate.bootstrap, other, name, arguments.rivals), target):
        print(path)


def folder_of(against: str, params: Params) -> Path:
    """The folder of the run to compare with.

    Raises:
        DtiError: it is no folder of a run, or there is no champion.
    """
    if against == CHAMPION and not Path(against).exists():
        from dti.registry.champion import champion_folder  # MLflow takes seconds to load

        return champion_folder(params)
    folder = Path(against).resolve()
    if not (folder / "reports" / "metrics.json").is_file():
        raise DtiError(
            f"--against {against}: no reports/metrics.json in it; name a folder with the reports/ and data/scores/ of "
            f"a run (copy both before the next `dvc repro`), or {CHAMPION}"
        )
    return folder
