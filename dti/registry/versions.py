"""Versions of the registered model ``dti-ctr-<data set>``: one per result, with its tags and its model card."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from dti.errors import DtiError
from dti.files import alive, locked
from dti.params import Params
from dti.registry.aliases import CHAMPION, NAMES, aliases_of
from dti.registry.card import model_card
from dti.registry.model import files_of, log_model
from dti.registry.origin import Origin
from dti.registry.record import Record, read_record
from dti.registry.tracking import Place, exclusive, own_folder, record_run

MODEL_ID = "dti.model_id"
"""The tag that names the logged model; MLflow's own field is not kept by its database."""

ORIGIN = "artifacts/origin"
"""Where a model's files have what made it."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        model: the registered model's name.
        number: as MLflow counts them, from "1".
        model_id: of the logged model behind it.
        tags: what MLflow knows of it beside.
    """

    model: str
    number: str
    model_id: str
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        """By which MLflow loads it."""
        return f"models:/{self.model}/{self.number}"

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


@dataclass(frozen=True)
class Opened:
    """A version with its files at hand."""

    version: Version
    files: Path
    origin: Origin


def model_name(dataset: str) -> str:
    """The registered model of a data set."""
    return f"dti-ctr-{dataset}"


@contextmanager
def releasing() -> Iterator[None]:
    """Registry changes of this ``DTI_HOME`` come one after the other; a second one waits."""
    with locked(own_folder() / "release.lock", waiting="another promotion or rollback is under way; waiting for it"):
        yield


def track(root: Path, params: Params) -> tuple[Place, Version | None]:
    """Record the results in ``root`` as a run with its model, and where ``track.register`` says so, as a version.

    Raises:
        DtiError: a result is missing, or MLflow cannot be reached or refuses.
    """
    record = read_record(root, params)
    place = record_run(record, params.track.experiment)
    with exclusive() as client:
        model_id = log_model(client, place, record, root, params)
        version = _register(client, record, root, params, place, model_id) if params.track.register else None
    return place, version


def register_result(root: Path, params: Params) -> Version:
    """The version of the results in ``root``, made unless it is there: what a sweep calls for its best cell.

    Raises:
        DtiError: as ``track``.
    """
    chosen = params.model_copy(update={"track": params.track.model_copy(update={"register": True})})
    version = track(root, chosen)[1]
    assert version is not None
    return version


def _register(client: MlflowClient, record: Record, root: Path, params: Params, place: Place, model_id: str) -> Version:
    name = model_name(params.data.name)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, tags={"dti.dataset": params.data.name})
    found = client.search_model_versions(f"name = '{name}' and tags.`dti.key` = '{record.key}'")
    if found:
        return _version(found[0])
    made = client.create_model_version(
        name,
        client.get_logged_model(model_id).artifact_location,  # the models:/ form asks the global client, not this one
        place.run_id,
        tags={**record.tags, MODEL_ID: model_id},
        description=model_card(record, root, params),
        model_id=model_id,
    )
    return _version(made)


def _version(found: ModelVersion) -> Version:
    return Version(found.name, str(found.version), found.tags.get(MODEL_ID, ""), dict(found.tags))


def find_version(client: MlflowClient, model: str, which: str | None = None) -> Version:
    """A version by its number or alias; the newest without either.

    Raises:
        DtiError: there is none.
    """
    numbers = sorted(int(v.version) for v in client.search_model_versions(f"name = '{model}'"))
    if not numbers:
        raise DtiError(f"{model}: no version is registered; `dvc repro` with track.register true makes one")
    number = str(numbers[-1]) if which is None else which
    if which in NAMES:
        number = aliases_of(client, model).get(which, "")
        if not number:
            makes_one = "; `python -m dti promote` makes one" if which == CHAMPION else ""
            raise DtiError(f"{model}: no version is {which}{makes_one}")
    if not number.isdigit() or int(number) not in numbers:
        known = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
        raise DtiError(f"{model}: no version {number!r}; give a number ({known}) or one of {', '.join(NAMES)}")
    return _version(client.get_model_version(model, str(int(number))))


@contextmanager
def copies() -> Iterator[Path]:
    """A folder for what a server has of versions; it vanishes with all that was fetched, a killed process's now."""
    for left in own_folder().glob("copies-*-*"):
        if not alive(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=own_folder(), prefix=f"copies-{os.getpid()}-") as folder:
        yield Path(folder)


def open_version(client: MlflowClient, version: Version, folder: Path) -> Opened:
    """All files of a version, in place or fetched from a server.

    Args:
        folder: takes what is fetched; ``copies`` makes one.

    Raises:
        DtiError: they are gone or incomplete.
    """
    files = _files(client, version, folder)
    return Opened(version, files, Origin.read(files / ORIGIN))


def open_origin(client: MlflowClient, version: Version, folder: Path) -> Origin:
    """What made a version, without its weights, which may be large to fetch; ``folder`` as in ``open_version``.

    Raises:
        DtiError: its files are gone or incomplete.
    """
    return Origin.read(_files(client, version, folder, ORIGIN))


def _files(client: MlflowClient, version: Version, folder: Path, part: str = "") -> Path:
    try:
        return files_of(client, version.model_id, folder, part)
    except (MlflowException, OSError) as error:
        raise DtiError(f"{version}: its files cannot be read: {error}") from error


def all_origins() -> Iterator[Origin]:
    """What made each version of each of our registered models; what was fetched vanishes at the end.

    Raises:
        DtiError: MLflow cannot be reached or refuses, or a version's files are gone.
    """
    with copies() as folder, exclusive() as client:
        models = [model.name for model in client.search_registered_models(f"name LIKE '{model_name('%')}'")]
        for name in models:
            for found in client.search_model_versions(f"name = '{name}'"):
                yield open_origin(client, _version(found), folder)
