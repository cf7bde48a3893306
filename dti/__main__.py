"""`python -m dti COMMAND`: the commands beside the pipeline, which is run by `dvc repro`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from dti.errors import run_or_exit

COMMANDS = {
    "apply": ("dti.apply", "bring a run of the UI into this folder: parameters, dvc.lock, reports, outputs"),
    "check": ("dti.check", "say what section table of params.yaml makes of a file, and what is wrong with it"),
    "clean": ("dti.clean", "free DVC's cache of what no run, no registered version and no experiment needs"),
    "doctor": ("dti.doctor", "check that the pipeline can run here; --fix repairs what it can"),
    "parameters": (
        "dti.parameters",
        "print every parameter with its bounds and help; --write updates docs/parameters.md",
    ),
    "parity": (
        "dti.parity",
        "print the trained adapter's parity gap, streams against serving prompts, for each k",
    ),
    "plan": ("dti.plan", "print what training would cost, measured by a few steps: tokens, FLOPs, hours, memory"),
    "preview": ("dti.preview", "show packed prompts of both paradigms, and the tokens and mask of a small one"),
    "promote": ("dti.promote", "make a version champion, if the rule in params.yaml allows it; print the decision"),
    "reproduce": ("dti.reproduce", "rebuild a version from its commit, parameters and data; compare all metrics"),
    "report": (
        "dti.report.command",
        "write the report of the last run, as HTML and Markdown; --against says what differs from another run",
    ),
    "result": ("dti.result", "print the result table of the last run and where its MLflow run is"),
    "rollback": ("dti.rollback", "make the previous champion champion again"),
    "score": ("dti.score", "score the requests of a file with a registered model or a bundle"),
    "sweep": ("dti.sweep.command", "run the cells of a grid file that have no result yet, and compare all"),
}
"""Each command's module, with ``add_arguments(parser)`` and ``run(arguments)``, and its help line."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; only the chosen command's module is imported."""
    parser = argparse.ArgumentParser(prog="python -m dti", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, words_of_help) in COMMANDS.items():
        command = commands.add_parser(name, help=words_of_help, description=words_of_help)
        if name in words[:1]:
            chosen = import_module(module)
            chosen.add_arguments(command)
            command.set_defaults(run=chosen.run)
    return parser.parse_args(words)


def main() -> None:
    """Run the command that the command line names."""
    arguments = parse(sys.argv[1:])
    arguments.run(arguments)


if __name__ == "__main__":
    run_or_exit(main)
