"""A small project folder in which the train stage runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from dti.stages import train as stage

ROOT = Path(__file__).parents[2]


class Project:
    """A folder with packed data and params.yaml; ``train`` runs the stage there as a process."""

    def __init__(self, folder: Path, packed: Path, **train):
        self.folder = folder
        folder.mkdir()
        (folder / "data").mkdir()
        shutil.copytree(packed, folder / "data" / "packed")
        self.set(train={"epochs": 4, "patience": 0, "targets_per_step": 16, "checkpoint_seconds": 0, **train})

    def set(self, **sections):
        path = self.folder / "params.yaml"
        content = yaml.safe_load((path if path.is_file() else ROOT / "params.yaml").read_text())
        content["model"]["tiny"] |= {"layers": 2, "width": 16, "heads": 2, "dropout": 0.1, "vocabulary": 300}
        for name, values in sections.items():
            content[name] |= values
        path.write_text(yaml.safe_dump(content))

    def start(self):
        environment = {**os.environ, "DTI_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dti.stages.train"]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=environment, **pipe)

    def train(self):
        process = self.start()
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def train_here(self, monkeypatch):
        """The same in this process, which saves the imports; errors are raised."""
        monkeypatch.chdir(self.folder)
        monkeypatch.setenv("DTI_HOME", str(self.folder / "home"))
        stage.main()

    def report(self):
        return json.loads((self.folder / "reports" / "train.json").read_text())

    @property
    def epochs_done(self):
        """Finished epochs, as the checkpoint says; -1 without one."""
        if self.checkpoint is None:
            return -1
        try:
            with safe_open(self.checkpoint, framework="pt") as handle:
                return json.loads(handle.metadata()["state"])["epoch"]
        except (OSError, RuntimeError):  # the next checkpoint has just taken its place
            return -1

    @property
    def checkpoint(self):
        found = list((self.folder / "home" / "checkpoints").glob("*/last.safetensors"))
        return found[0] if found else None


@pytest.fixture(scope="module")
def packed(make_store):
    """Forty users with 12 interactions each; the last two of each are validation and test targets."""
    rng = np.random.default_rng(1)
    texts = [f"{colour} {thing}" for colour in ("red", "blue", "old") for thing in ("lamp", "chair", "bed", "box")]
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(12)] for _ in range(40)]
    splits = [["context"] * 3 + ["train"] * 7 + ["valid", "test"]] * 40
    return make_store(histories, texts, splits=splits, n=4, k=5).folder


@pytest.fixture(scope="module")
def project(tmp_path_factory, packed):
    """``project(name, **train) -> Project``."""
    return lambda name, **train: Project(tmp_path_factory.mktemp(name) / name, packed, **train)
