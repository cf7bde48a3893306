"""A home of its own for every test, so that no run of the user's is seen."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("DTI_HOME", str(folder))
    monkeypatch.setenv("PREFECT_HOME", str(folder / "prefect"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in [name for name in os.environ if name.startswith("PREFECT_API")]:
        monkeypatch.delenv(name)
    return folder
