"""`make up`: both servers and the deployments on this machine, until Ctrl-C; what they need is made once.

State lies below ``DTI_HOME``: ``prefect/``, ``mlflow/``, ``runs/``, and in ``up/`` what each process said.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

import httpx

from dti.errors import DtiError, run_or_exit
from dti.files import locked, read_json, write_json
from dti.home import ROOT, home
from dti.workspace import LEASH
from flows.api import Api
from flows.groups import GROUPS
from flows.settings import HOST, Servers

PATIENCE = 180.0  # seconds for a server's start on a busy machine
TICK = 2.0
STEADY = 600.0  # seconds
RESTARTS = 5
"""A process that ends more often than this, each time before it has run for ``STEADY``, is not started again."""

MAKE_RECORD = "from dti.registry.tracking import make_record; make_record()"


class Child:
    """A process of `make up`, on a leash: it ends when this process ends, however that happens."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name, self.command = name, [sys.executable, "-P", str(LEASH), sys.executable, "-m", *command]
        self.log = folder / f"{name}.log"
        self.restarts = 0
        self._began = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its log begins anew with `make up`."""
        self._began = time.monotonic()
        with self.log.open("ab" if self._process else "wb") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def let_go(self) -> None:
        """Let go of the leash, so that it ends."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            self._process.wait()

    def restart(self) -> None:
        """Start it again after an unexpected end.

        Raises:
            DtiError: it ended too often.
        """
        steady = time.monotonic() - self._began > STEADY
        self.restarts = 1 if steady else self.restarts + 1
        if self.restarts > RESTARTS:
            raise DtiError(f"{self.name} ended {self.restarts} times; see {self.log}")
        print(f"{self.name} ended unexpectedly and is started again; see {self.log}", flush=True)
        self.start()


class Up:
    """The servers and the processes that start runs."""

    def __init__(self, servers: Servers) -> None:
        self.servers, self.api = servers, Api(servers.prefect)
        folder = home() / "up"
        folder.mkdir(exist_ok=True)
        host = ("--host", HOST, "--port")
        prefect = ("prefect", "server", "start", *host, str(servers.prefect_port))
        self.prefect = Child("prefect", prefect, folder)
        self.mlflow: Child | None = None
        if not (servers.record or "").startswith("http"):
            store = ("--backend-store-uri", servers.record or f"sqlite:///{home()}/mlflow/mlflow.db")
            mlflow = ("mlflow", "server", *store, *host, str(servers.mlflow_port), "--workers", "1")
            self.mlflow = Child("mlflow", mlflow, folder)
        self.groups = {name: Child(name, ("flows.serve", name), folder) for name in GROUPS}

    @property
    def children(self) -> list[Child]:
        """All processes, in the order of their start."""
        return [child for child in (self.prefect, self.mlflow, *self.groups.values()) if child]

    def start(self) -> None:
        """Start everything and make what it needs; returns when runs can be started from the UI.

        Raises:
            DtiError: a port is taken, or a process does not come up.
        """
        for port in [self.servers.prefect_port, *([self.servers.mlflow_port] if self.mlflow else [])]:
            _refuse_taken(port)
        self.prefect.start()
        if self.mlflow:
            if subprocess.run([sys.executable, "-c", MAKE_RECORD], cwd=ROOT).returncode:
                raise DtiError(f"the record in {home()}/mlflow cannot be made or opened; see above")
            self.mlflow.start()
        self._wait(self.prefect, self.api.healthy)
        if self.mlflow:
            self._wait(self.mlflow, lambda: _answers(f"{self.servers.mlflow}/health"))
        self.api.watch_for_crashes()
        for name in self.groups:
            self._start_group(name)
        for name, child in self.groups.items():
            self._wait(child, partial(self._deployed, *GROUPS[name].entrypoints))

    def watch(self) -> None:
        """Look after everything once: start again what has ended, name the queue.

        Raises:
            DtiError: something ends again and again.
        """
        for child in self.children:
            if not child.running:
                if child.name in self.groups:
                    with suppress(httpx.HTTPError):  # if the server is busy, it notices silent runs later
                        self._settle(child.name)
                child.restart()
        with suppress(httpx.HTTPError):
            for group in GROUPS.values():
                if group.slots is not None:
                    self.api.name_queue(group.entrypoints, group.slots)

    def stop(self) -> None:
        """Stop everything, the runs first: a training keeps its checkpoint and says that it ended."""
        for together in (list(self.groups.values()), self.children):
            for child in together:
                child.let_go()
            for child in together:
                child.wait()

    def _start_group(self, name: str) -> None:
        self._settle(name)
        self.groups[name].start()

    def _settle(self, name: str) -> None:
        left = self.api.end_left_over(GROUPS[name].flows)
        if left:
            print(f"{left} runs of an earlier process had not ended and count as crashed; run them again", flush=True)

    def _deployed(self, *names: str) -> bool:
        body = {"deployments": {"name": {"any_": list(names)}}}
        found = self.api.call("POST", "/deployments/filter", body)
        return {deployment["name"] for deployment in found if deployment["status"] == "READY"} == set(names)

    def _wait(self, child: Child, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not ready():
            if not child.running or time.monotonic() > until:
                raise DtiError(f"{child.name} did not start; see {child.log}")
            time.sleep(0.2)


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise DtiError(
                f"port {port} of {HOST} is taken by another program; stop it, or choose others: "
                "`make up UP='--prefect-port 4300 --mlflow-port 5100'`"
            ) from None


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and a lost terminal stop everything in order, as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:  # a second Ctrl-C does not break the orderly stop
            signal.signal(number, signal.SIG_IGN)


def up(servers: Servers) -> None:
    """Bring everything up, say where it is, look after it until Ctrl-C, and stop it.

    Raises:
        DtiError: it is up already, a port is taken, or a process does not come up.
    """
    note = home() / "up.json"
    with locked(home() / "up.lock") as mine:
        if mine is None:
            at = read_json(note) if note.exists() else {}
            raise DtiError(f"`make up` runs already: {at.get('prefect', 'starting')}; stop that one with Ctrl-C first")
        os.environ.update(servers.environment())
        write_json(note, {"prefect": servers.prefect, "mlflow": servers.mlflow, "pid": os.getpid()})
        everything = Up(servers)
        try:
            with _stopped_by_signals():
                everything.start()
                print(f"Start and watch runs  {servers.prefect}/deployments", flush=True)
                print(f"Their record          {servers.mlflow}", flush=True)
                print("Ctrl-C stops everything; what runs keeps its checkpoint.", flush=True)
                while True:
                    time.sleep(TICK)
                    everything.watch()
        except KeyboardInterrupt:
            print("stopping", flush=True)
        finally:
            everything.stop()
            note.unlink(missing_ok=True)


def main() -> None:
    """``python -m flows.up``."""
    parser = argparse.ArgumentParser(prog="python -m flows.up", description=__doc__.splitlines()[0])
    parser.add_argument("--prefect-port", type=int, default=Servers.prefect_port)
    parser.add_argument("--mlflow-port", type=int, default=Servers.mlflow_port)
    up(Servers(**vars(parser.parse_args())))


if __name__ == "__main__":
    run_or_exit(main)
