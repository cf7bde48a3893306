"""`python -m dti score`: score the requests of a file, with a registered version, a bundle, or a project's adapter."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dti.errors import DtiError
from dti.files import atomic_file
from dti.home import ROOT
from dti.params import load_params
from dti.serving.batch import Line, scored
from dti.serving.bundle import MANIFEST, write_bundle
from dti.serving.scorer import Scorer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`."""
    parser.add_argument(
        "--model",
        required=True,
        help="models:/NAME@ALIAS, a bundle's folder, or a project's folder (its models/adapter)",
    )
    parser.add_argument(
        "--input", type=Path, required=True, help="requests: a .jsonl file, or a .parquet file of users"
    )
    parser.add_argument("--output", type=Path, required=True, help="where the scores go, in the input's form")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto takes a GPU where there is one"
    )
    parser.add_argument(
        "--packed", type=Path, default=Path("data/packed"), help="the histories of a Parquet file's users"
    )


def run(arguments: argparse.Namespace) -> None:
    """Score, streaming; a rerun goes on where the last one ended.

    Raises:
        DtiError: there is no such model or file, or a request is wrong; names the line.
    """
    if arguments.model.startswith("models:/"):
        _run_version(arguments)
        return
    with _bundle(Path(arguments.model)) as folder:
        scorer = Scorer.open(folder, arguments.device)
        if arguments.input.suffix == ".parquet":
            from dti.serving.frames import score_frame  # polars is no part of the core

            score_frame(scorer, arguments.input, arguments.output, arguments.packed)
        else:
            score_lines(scorer, arguments.input, arguments.output)
    print(f"scores in {arguments.output}")


def score_lines(scorer: Scorer, source: Path, output: Path) -> None:
    """Score a file of requests, one a line; blank lines are refused.

    Raises:
        DtiError: the file is missing, or a line is no request.
    """
    if not source.is_file():
        raise DtiError(f"{source}: not found")
    with source.open("rb") as handle:
        count = sum(1 for _ in handle)
    with scored(scorer, _lines(source), count, output) as answers, atomic_file(output) as partial:
        answers.rename(partial)


def _lines(source: Path) -> Iterator[Line]:
    with source.open("rb") as handle:
        for number, text in enumerate(handle, 1):
            yield Line(f"{source}: line {number}", text.strip())


@contextmanager
def _bundle(folder: Path) -> Iterator[Path]:
    """The bundle in a folder, or one that is made of the project there for as long as it is needed."""
    if (folder / MANIFEST).is_file():
        yield folder
    elif (folder / "params.yaml").is_file():
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary) / "bundle"
            write_bundle(folder, load_params(folder / "params.yaml"), made)
            yield made
    else:
        raise DtiError(f"--model: {folder} is no bundle ({MANIFEST}) and no project's folder (params.yaml)")


def _run_version(arguments: argparse.Namespace) -> None:
    """Score with the code that the version carries, in a process of its own: this code may read its files otherwise."""
    with _fetched(arguments.model) as folder:
        flavor = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
        bundle, code = folder / flavor["artifacts"]["bundle"]["path"], folder / flavor.get("code", "code")
        words = [sys.executable, "-P", "-m", "dti", "score", "--model", str(bundle)]
        for name in ("input", "output", "device", "packed"):
            words += [f"--{name}", str(getattr(arguments, name))]
        home = os.environ.get("DTI_HOME") or str(ROOT / ".dti")
        done = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(code), "DTI_HOME": home})
    if done.returncode:
        sys.exit(done.returncode)


@contextmanager
def _fetched(uri: str) -> Iterator[Path]:
    """The local folder of a registered model; a copy of what lies on a server vanishes behind it.

    Raises:
        DtiError: MLflow does not know it, or cannot be reached.
    """
    import mlflow  # it takes seconds to load, and only this way of naming a model needs it
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from sqlalchemy.exc import SQLAlchemyError

    from dti.registry.model import fetched
    from dti.registry.tracking import tracking_uri
    from dti.registry.versions import copies

    mlflow.set_tracking_uri(tracking_uri())
    with copies() as folder:
        try:
            files = fetched(ModelsArtifactRepository.get_underlying_uri(uri), folder / "model")
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise DtiError(f"--model: {uri}: {str(error).strip().splitlines()[0]}") from error
        yield files
