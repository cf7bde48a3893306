"""A copy of the project in which `make up` runs, and what its users see there."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from dti.home import ROOT
from dti.registry.record import result_key
from flows.api import ENDED, Api

SMALL = {
    "demo": {"users": 60, "interactions": 600, "items": 40},
    "model": {"tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 320}},
    "train": {"epochs": 1, "targets_per_step": 64, "valid_targets": 500},
    "evaluate": {"bootstrap": 50},
}
LONG = SMALL | {
    "demo": {"users": 500, "interactions": 40000, "items": 40},
    "train": {"epochs": 500, "patience": 0, "targets_per_step": 64, "checkpoint_seconds": 5},
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=600, what="a condition"):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} did not come true in {seconds} seconds"
        time.sleep(0.3)
    return found


class Served:
    """A copy of the project in which `make up` runs."""

    def __init__(self, copy):
        self.folder = copy.folder
        shutil.copytree(ROOT / "flows", self.folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        self.home = self.folder / ".dti"
        self.environment = copy.environment | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.ports = (free_port(), free_port())
        self.api = Api(f"http://127.0.0.1:{self.ports[0]}")

    def command(self):
        ports = ("--prefect-port", str(self.ports[0]), "--mlflow-port", str(self.ports[1]))
        return [sys.executable, "-m", "flows.up", *ports]

    @contextmanager
    def up(self):
        """`make up` until the block ends; then Ctrl-C, after which nothing may be left."""
        log = self.folder / "up.log"
        with log.open("w") as handle:
            process = subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environment, stdout=handle, stderr=handle
            )
        try:
            wait_for(lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, 300, "make up")
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)
        assert process.returncode == 0, log.read_text()
        wait_for(lambda: not self.processes(), 30, f"the end of {self.processes()}")

    def processes(self, text=""):
        """The processes that work in this copy, by a part of their command line."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if Path(process.cwd()).is_relative_to(self.folder) and text in words and "leash.py" not in words:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def start(self, deployment="train", **parameters):
        """Create a run as the UI does; returns its id."""
        found = self.api.call("POST", "/deployments/filter", {"deployments": {"name": {"any_": [deployment]}}})
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.api.call("POST", f"/deployments/{found[0]['id']}/create_flow_run", body)["id"]

    def run(self, run):
        return self.api.call("GET", f"/flow_runs/{run}")

    def state(self, run):
        return self.run(run)["state_name"]

    def ended(self, run, seconds=900):
        """Wait for the end of a run; returns the name of its state."""
        wait_for(lambda: self.run(run)["state_type"] in ENDED, seconds, f"the end of run {run}")
        return self.state(run)

    def log(self, run):
        path = self.home / "runs" / run / "log.txt"
        return path.read_text() if path.exists() else ""

    def said(self, run):
        """What Prefect's log of the run holds."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [line["message"] for line in self.api.call("POST", "/logs/filter", body)]

    def artifacts(self, run):
        body = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        return {entry["key"]: entry for entry in self.api.call("POST", "/artifacts/filter", body)}

    def training(self, run):
        """Wait until a run has trained for an epoch."""
        wait_for(lambda: ": validation AUC" in self.log(run), 600, "the training")
        return self.processes("dti.stages.train")[0]

    def mlflow(self):
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.home}/mlflow/mlflow.db")

    def versions(self):
        return self.mlflow().search_model_versions("name = 'dti-ctr-demo'")

    def key(self, run):
        """The digest of a run's results, by which MLflow knows them."""
        return result_key(self.home / "runs" / run)

    def mlflow_runs(self, **tags):
        client = self.mlflow()
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return client.search_runs([e.experiment_id for e in client.search_experiments()], wanted)

    def checkpoints(self):
        return list((self.home / "checkpoints").glob("*/last.safetensors"))
