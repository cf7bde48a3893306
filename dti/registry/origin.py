"""What a version keeps of the run that made it: parameters, stages with their hashes, and reports."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dti.errors import DtiError
from dti.files import read_json
from dti.registry.record import PIPELINE

REPORTS = ("metrics", "parity", "train", "data", "pack")


@dataclass(frozen=True)
class Origin:
    """The folder ``origin`` of a version's files.

    Attributes:
        folder: where it lies.
        parameters: params.yaml, as the version's code read it; a later code may know other parameters.
        reports: the reports by name, ``metrics`` and others.
    """

    folder: Path
    parameters: Mapping[str, Any]
    reports: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "Origin":
        """Read the folder.

        Raises:
            DtiError: it is incomplete.
        """
        file = folder / "params.yaml"
        if not file.is_file():
            raise DtiError(f"{file}: not found; this version's files are incomplete")
        reports = {name: read_json(folder / "reports" / f"{name}.json") for name in REPORTS}
        return cls(folder, yaml.safe_load(file.read_text()), reports)

    def restore(self, target: Path) -> None:
        """Copy the stages with their hashes into a workspace.

        Raises:
            DtiError: the version was made without DVC.
        """
        if not (self.folder / "dvc.lock").is_file():
            raise DtiError("this version has no dvc.lock: it was made without DVC, which alone knows its data")
        for name in ("dvc.yaml", "dvc.lock"):
            shutil.copy2(self.folder / name, target / name)


def write_origin(root: Path, folder: Path) -> None:
    """Copy what made the results in the project's folder ``root`` to a new folder."""
    (folder / "reports").mkdir(parents=True)
    for name in PIPELINE:
        if (root / name).exists():
            shutil.copy2(root / name, folder / name)
    for name in REPORTS:
        shutil.copy2(root / "reports" / f"{name}.json", folder / "reports")
    shutil.copy2(root / "reports" / "history.csv", folder / "reports")
