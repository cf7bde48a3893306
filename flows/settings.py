"""Where the servers of `make up` are, and the environment that they and the runs share."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dti.home import home, record_uri

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Servers:
    """The ports of both servers on this machine."""

    prefect_port: int = 4200
    mlflow_port: int = 5000

    @property
    def prefect(self) -> str:
        """The address of Prefect's UI."""
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def record(self) -> str | None:
        """``MLFLOW_TRACKING_URI``: the record is there; None: it is our own database."""
        return record_uri()

    @property
    def mlflow(self) -> str:
        """The address of MLflow's UI: the server that holds the record (its password left out), or ours."""
        if self.record is None or not self.record.startswith("http"):
            return f"http://{HOST}:{self.mlflow_port}"
        given = urlsplit(self.record)
        return given._replace(netloc=given.netloc.rpartition("@")[2]).geturl()

    def environment(self) -> dict[str, str]:
        """Variables for every process: one home, no telemetry, this interpreter first, fast signs of life.

        Without ``MLFLOW_TRACKING_URI`` runs write to the database itself, and a stopped MLflow server loses nothing.
        """
        return ({"MLFLOW_TRACKING_URI": self.record} if self.record else {}) | {
            "DTI_HOME": str(home()),
            "DTI_MLFLOW_URL": self.mlflow,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PREFECT_HOME": str(home() / "prefect"),
            "PREFECT_API_URL": f"{self.prefect}/api",
            "PREFECT_UI_URL": self.prefect,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_LOGGING_TO_API_MAX_LOG_SIZE": "100000",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONUNBUFFERED": "1",
        }
