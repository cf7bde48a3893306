"""Real sweeps on a tiny demo, through DVC."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from dti.files import read_json

pytestmark = pytest.mark.slow

SMALL = {
    "demo.users": 60,
    "demo.interactions": 1200,
    "demo.items": 40,
    "model.tiny.layers": 1,
    "model.tiny.width": 16,
    "model.tiny.heads": 2,
    "model.tiny.vocabulary": 320,
    "train.epochs": 1,
    "train.targets_per_step": 64,
    "evaluate.bootstrap": 50,
}


@pytest.fixture
def project(make_copy, tmp_path):
    copy = make_copy(git=False)
    copy.environment["DTI_HOME"] = str(tmp_path / "home")
    return copy


def write(project, name, groups, **changes):
    grid = {"name": name, "threads": 1, "baseline": groups[0]["name"], "set": SMALL | changes, "groups": groups}
    (project.folder / "grid.yaml").write_text(yaml.safe_dump(grid))


def ran(output):
    return re.findall(r"Running stage '(?:data/dvc.yaml:)?(\S+)'", output)


def test_the_second_cell_takes_data_stages_from_the_shared_cache(project, tmp_path):
    write(project, "two", [{"name": "isolated"}, {"name": "window", "set": {"attention.policy": "window"}}])
    before = {path.name for path in project.folder.iterdir()}
    assert project.run("dti", "sweep", "grid.yaml") == 0, project.output
    first, second = project.output.split("--- cell")[1:]
    assert ran(first) == ["fetch@demo", "prepare", "pack", "train", "evaluate"]
    assert ran(second) == ["train", "evaluate"]
    assert "Stage 'pack' is cached" in second
    results = tmp_path / "home/sweeps/two/results"
    assert "| window " in (results / "table.md").read_text()
    assert read_json(results / "isolated-seed=1.json")["metrics"]["test_targets"] == 90
    assert {path.name for path in project.folder.iterdir()} - before <= {"__pycache__"}
    assert not (project.folder / "data/packed").exists()
    assert project.run("dti", "sweep", "grid.yaml", "--list") == 0
    assert "2 of 2 cells are done" in project.output


def test_a_stopped_sweep_keeps_the_training_it_has_done(project, tmp_path):
    write(project, "stopped", [{"name": "long"}], **{"train.epochs": 200, "train.patience": 0})
    checkpoints = tmp_path / "home/checkpoints"
    command = [sys.executable, "-m", "dti", "sweep", "grid.yaml"]
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, text=True
    ) as child:
        end = time.monotonic() + 240
        while not list(checkpoints.glob("*/lock")) and time.monotonic() < end and child.poll() is None:
            time.sleep(0.2)
        time.sleep(2)
        os.kill(child.pid, signal.SIGTERM)
        output = child.communicate(timeout=120)[0]
    assert child.returncode == 130, output
    assert list(checkpoints.glob("*/last.safetensors")), output
    assert (tmp_path / "home/sweeps/stopped/long-seed=1/log.txt").is_file()
    assert project.run("dti", "sweep", "grid.yaml") == 0, project.output
    assert "resumed at epoch" in project.output
    assert ran(project.output)[0] == "train"
