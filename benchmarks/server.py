"""A model served over HTTP by `mlflow models serve`: start it, ask it, end it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow models serve` as a process group of its own; a context manager that ends it.

    Args:
        model: an MLflow model's folder or URI.
        log: what it prints goes there.
        environment: more environment variables.
    """

    def __init__(self, model: str | Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
        with log.open("a") as out:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"} | (environment or {}),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
            )

    def __enter__(self) -> "Server":
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait(self, seconds: float = 180) -> None:
        """Wait until it answers.

        Raises:
            TimeoutError: it does not, or it ended.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        self.kill()
        raise TimeoutError("the server does not answer")

    def ask(self, requests: Sequence[Mapping[str, Any]], timeout: float = 60) -> list[Any]:
        """The predictions of some requests."""
        status, answer = self.post(json.dumps({"inputs": requests}).encode(), timeout)
        if status != 200:
            raise OSError(f"status {status}: {answer}")
        return list(answer["predictions"])

    def post(self, body: bytes, timeout: float = 60) -> tuple[int, Any]:
        """Status and content of the answer to any body."""
        request = urllib.request.Request(f"{self.url}/invocations", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def kill(self) -> None:
        """End the process and its children at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def resident(self) -> int:
        """Bytes of memory that the process group holds (RSS)."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.pid:  # the group's id
                total += int(fields[21]) * os.sysconf("SC_PAGESIZE")
        return total
