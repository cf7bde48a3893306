"""An adapter as a model in MLflow: its bundle, the code that serves it, and what made it. One model per result."""

import shutil
import tempfile
import time
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model
from mlflow.utils.uri import append_to_uri_path, is_local_uri

import dti
from dti.params import Params
from dti.registry.origin import write_origin
from dti.registry.record import Record
from dti.registry.tracking import Place, own_folder, tracking_uri

PACKAGES = (
    "mlflow",
    "torch",
    "transformers",
    "peft",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "pydantic",
    "PyYAML",
    "gguf",
    "filelock",
)
"""What serving imports, pinned to what is installed: MLflow would load the model to find out."""

CODE = Path(dti.__file__).parent
SERVING = CODE / "serving" / "model.py"


def log_model(client: MlflowClient, place: Place, record: Record, root: Path, params: Params) -> str:
    """The id of the model of this result; it is logged to the run, unless it is there.

    Call it while no other process of this ``DTI_HOME`` does: an unfinished model with this key was then killed, and is
    replaced.

    Raises:
        DtiError: the results in ``root`` make no bundle.
    """
    ready = None
    for found in client.search_logged_models([place.experiment_id], f"tags.`dti.key` = '{record.key}'"):
        if found.status == LoggedModelStatus.READY:
            ready = str(found.model_id)
        else:
            client.delete_logged_model(found.model_id)
    return ready or _log(client, place, record, root, params)


def _log(client: MlflowClient, place: Place, record: Record, root: Path, params: Params) -> str:
    with tempfile.TemporaryDirectory(dir=own_folder()) as temporary:
        parts = _parts(Path(temporary), root, params)
        model = client.create_logged_model(place.experiment_id, "adapter", place.run_id, dict(record.tags))
        _save(Path(temporary) / "model", parts, model)
        client.log_model_artifacts(model.model_id, str(Path(temporary) / "model"))
    client.log_model_params(model.model_id, dict(record.params))
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now, 0, model_id=model.model_id)
        for name, value in record.metrics.items()
        if "/" not in name
    ]
    client.log_batch(place.run_id, metrics=metrics)
    client.log_outputs(place.run_id, [LoggedModelOutput(model.model_id, 0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def _parts(folder: Path, root: Path, params: Params) -> dict[str, str]:
    from dti.serving.bundle import write_bundle  # loads torch; a result that has its model need not wait for it

    write_bundle(root, params, folder / "bundle")
    write_origin(root, folder / "origin")
    return {name: str(folder / name) for name in ("bundle", "origin")}


def _save(folder: Path, parts: dict[str, str], model: LoggedModel) -> None:
    with redirect_stderr(StringIO()):  # advice on type hints, printed whatever the filters say; errors are raised
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(SERVING),
            artifacts=parts,
            code_paths=[str(CODE)],
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
            mlflow_model=Model(run_id=model.source_run_id, model_id=model.model_id),
        )
    for left in folder.rglob("__pycache__"):
        shutil.rmtree(left)


def files_of(client: MlflowClient, model_id: str, copies: Path, part: str = "") -> Path:
    """The folder of a model's files: where they lie, or a copy of those on a server.

    Args:
        copies: takes the copy; it is the caller's to remove.
        part: a folder among the files; only this one is copied.

    Raises:
        MlflowException: they are gone, or the server does not answer.
    """
    location = client.get_logged_model(model_id).artifact_location
    return fetched(append_to_uri_path(location, part) if part else location, copies / model_id)


def fetched(location: str, copy: Path) -> Path:
    """The files at a place that MLflow names: where they lie, or a ``copy`` of those on a server.

    Raises:
        MlflowException: they are gone, or the server does not answer.
    """
    at_hand = is_local_uri(location, is_tracking_or_registry_uri=False)
    # given a folder, MLflow would copy files at hand, too
    found = download_artifacts(
        artifact_uri=location, dst_path=None if at_hand else str(copy), tracking_uri=tracking_uri()
    )
    return Path(found)
