"""Where state lives that is no DVC output: MLflow's database and artifacts, checkpoints, run workspaces."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The project's folder, where dvc.yaml and params.yaml stand."""


def home() -> Path:
    """``DTI_HOME``, or the git-ignored folder ``.dti`` of the project; made if it is missing."""
    folder = Path(os.environ.get("DTI_HOME") or ROOT / ".dti").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
