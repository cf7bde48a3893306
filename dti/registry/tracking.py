"""MLflow as the record of runs: one run per result, however often it is recorded."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from dti.errors import DtiError, full_disk_named
from dti.files import atomic_file
from dti.home import home, record_uri
from dti.registry.record import Record

KEY = "dti.key"
"""The tag with the digest of a run's results."""
BATCH = {"metrics": 1000, "params": 100}
"""The most that MLflow takes in one call."""

logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Place:
    """Where a run is recorded; ``new`` says whether this call made the record."""

    uri: str
    experiment: str
    experiment_id: str
    run_id: str
    new: bool


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or the SQLite database ``mlflow/mlflow.db`` below ``DTI_HOME``."""
    return record_uri() or f"sqlite:///{_database()}"


def record_run(record: Record, experiment: str) -> Place:
    """Record a run once: a finished run with its key is found again, an unfinished one is replaced.

    Recordings on one machine wait for each other, so that an unfinished run with this key is one whose recording was
    killed. MLflow keeps deleted runs until `mlflow gc`.

    Raises:
        DtiError: MLflow cannot be reached or refuses, or the disk is full; nothing is lost, run again.
    """
    with exclusive() as client:
        experiment_id = _experiment(client, experiment)
        finished = finished_run(client, experiment_id, KEY, record.key)
        run_id = finished or _create(client, experiment_id, record)
    return Place(tracking_uri(), experiment, experiment_id, run_id, new=finished is None)


def finished_run(client: MlflowClient, experiment_id: str, tag: str, key: str) -> str | None:
    """The id of the finished run whose ``tag`` is ``key``, if there is one; unfinished ones are deleted.

    Call it while no other process of this ``DTI_HOME`` records: an unfinished run is then one that was killed.
    """
    finished, unfinished = _runs(client, experiment_id, tag, key)
    for run_id in unfinished:
        client.delete_run(run_id)
    return finished


def find_run(key: str, experiment: str) -> Place | None:
    """The finished run with this key, if there is one.

    Raises:
        DtiError: MLflow cannot be reached or refuses.
    """
    if _is_ours() and not _database().exists():
        return None
    with exclusive() as client:
        found = client.get_experiment_by_name(experiment)
        run_id = _runs(client, found.experiment_id, KEY, key)[0] if found else None
    return Place(tracking_uri(), experiment, found.experiment_id, run_id, new=False) if run_id else None


def make_record() -> None:
    """Make the database where it is missing, so that servers and runs that start at once find it."""
    with exclusive():
        pass


def describe(place: Place) -> str:
    """Lines for the terminal: where the run is, and how to look at it; a password in the URI is not shown.

    ``DTI_MLFLOW_URL`` names the server on our database, where `make up` has started one.
    """
    shown = _without_password(place.uri)
    server = shown if place.uri.startswith("http") else os.environ.get("DTI_MLFLOW_URL")
    if server:
        look = f"{server}/#/experiments/{place.experiment_id}/runs/{place.run_id}"
    else:
        mlflow = Path(sys.executable).with_name("mlflow")
        command = mlflow.relative_to(Path.cwd()) if mlflow.is_relative_to(Path.cwd()) else mlflow
        look = f"{command} ui --backend-store-uri '{shown}' --host 127.0.0.1"
    return "\n".join(
        [
            f"MLflow run  {place.run_id} ({'recorded now' if place.new else 'recorded before'})",
            f"experiment  {place.experiment}, in {shown}",
            f"look at it  {look}",
        ]
    )


def _without_password(uri: str) -> str:
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@", 1) if password else uri


def own_folder() -> Path:
    """The folder of MLflow's database, artifacts and locks below ``DTI_HOME``."""
    folder = home() / "mlflow"
    folder.mkdir(exist_ok=True)
    return folder


def _database() -> Path:
    return own_folder() / "mlflow.db"


def _is_ours() -> bool:
    return record_uri() is None


def _make_database() -> None:
    """Make MLflow's tables whole or not at all: half of them, left by a killed process, would block every later run."""
    with atomic_file(_database()) as partial:
        MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)


@contextmanager
def exclusive() -> Iterator[MlflowClient]:
    """A client that no other process of this ``DTI_HOME`` uses at the same time.

    Several processes that make MLflow's tables at once crash each other.
    """
    with FileLock(own_folder() / "lock"), full_disk_named(own_folder()):
        try:
            if _is_ours() and not _database().exists():
                _make_database()
            yield MlflowClient(tracking_uri())
        except (MlflowException, SQLAlchemyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DtiError(
                f"MLflow at {_without_password(tracking_uri())} did not answer or refused: {reason}\n"
                "The results are safe in reports/ and models/. Check MLFLOW_TRACKING_URI and run `dvc repro` again."
            ) from error


def _experiment(client: MlflowClient, name: str) -> str:
    """The experiment's id; it is made where it is missing.

    MLflow stores the place of artifacts as an absolute path, and by default it depends on the current folder.
    """
    own = (own_folder() / "artifacts").as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, None if tracking_uri().startswith("http") else own)
    if found.lifecycle_stage != "active":
        raise DtiError(f"track.experiment: {name!r} was deleted in MLflow; restore it there or choose another name")
    if _is_ours() and found.artifact_location != own:
        raise DtiError(
            f"track.experiment: {name!r} keeps its artifacts in {found.artifact_location}, as the folder was moved or "
            f"copied since; choose another name, or remove {own_folder()} to start a new record"
        )
    return str(found.experiment_id)


def _runs(client: MlflowClient, experiment_id: str, tag: str, key: str) -> tuple[str | None, list[str]]:
    """The id of a finished run whose tag is this key, and the ids of unfinished ones."""
    runs = client.search_runs([experiment_id], f"tags.`{tag}` = '{key}'")
    finished = [run.info.run_id for run in runs if run.info.status == "FINISHED"]
    unfinished = [run.info.run_id for run in runs if run.info.status != "FINISHED"]
    return (finished[0] if finished else None), unfinished


def _create(client: MlflowClient, experiment_id: str, record: Record) -> str:
    run = client.create_run(experiment_id, run_name=record.name, tags=dict(record.tags))
    run_id = str(run.info.run_id)
    params = [Param(name, value) for name, value in record.params.items()]
    metrics = _metrics(record)
    for at in range(0, len(params), BATCH["params"]):
        client.log_batch(run_id, params=params[at : at + BATCH["params"]])
    for at in range(0, len(metrics), BATCH["metrics"]):
        client.log_batch(run_id, metrics=metrics[at : at + BATCH["metrics"]])
    for place, path in record.artifacts.items():
        if path.is_dir():
            client.log_artifacts(run_id, str(path), place)
        else:
            client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _metrics(record: Record) -> list[Metric]:
    """All metrics, and the curves with times as if training had ended now, so that MLflow can draw them by time."""
    now = int(time.time() * 1000)
    single = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
    end = max((point.hours for points in record.curves.values() for point in points), default=0.0)
    curves = [
        Metric(name, point.value, now - int((end - point.hours) * 3_600_000), point.step)
        for name, points in record.curves.items()
        for point in points
    ]
    return single + curves
