"""Where state lives that is no DVC output: MLflow's database and artifacts, checkpoints, run workspaces."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The project's folder, where dvc.yaml and params.yaml stand."""


def home() -> Path:
    """``DTI_HOME``, or the git-ignored folder ``.dti`` of the project; made if it is missing.

    The code that a model version carries has no project around it: it takes ``~/.cache/dti``.
    """
    own = ROOT / ".dti" if (ROOT / "params.yaml").exists() else Path.home() / ".cache" / "dti"
    folder = Path(os.environ.get("DTI_HOME") or own).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def record_uri() -> str | None:
    """``MLFLOW_TRACKING_URI`` for processes in other folders: a relative file or folder made absolute."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or None
    if given is None:
        return None
    for scheme in ("sqlite:///", "file:"):
        if given.startswith(scheme):
            place = given.removeprefix(scheme)
            return given if place.startswith("/") else f"{scheme}{Path(place).resolve()}"
    return given if "://" in given else str(Path(given).resolve())
