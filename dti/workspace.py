"""A copy of the project in which the pipeline runs with other parameters, apart from the user's own tree.

Workspaces share the project's DVC cache: what one has computed, another takes from the run cache.
"""

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import yaml

from dti import git
from dti.errors import DtiError, full_disk_named
from dti.files import atomic_file, locked
from dti.home import ROOT, home, record_uri

SOURCES = (
    "dti",
    "data/dvc.yaml",
    "data/sources.yaml",
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
)
"""What a workspace takes from the project, beside the parameters."""

LOG = "log.txt"
WAIT = 0.2  # seconds
LEASH = Path(__file__).with_name("leash.py")

Tell = Callable[[str], object]
"""Takes a line of what the pipeline says, with its end."""


def shared_cache(root: Path = ROOT) -> Path:
    """The DVC cache of the project in ``root``: where its, the user's or the machine's settings say."""
    own = root / ".dvc"
    found = own / "cache"
    for file in (*(Path(folder) / "config" for folder in _outer()), own / "config", own / "config.local"):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        settings.read(file)
        if named := settings.get("cache", "dir", fallback=""):
            found = file.parent / named
    return found.resolve()


def _outer() -> tuple[str, str]:
    """The folders of the machine's and the user's DVC settings."""
    from dvc import dirs  # so that a model's own code, which has no DVC, can import this file

    return dirs.system_config_dir(), dirs.global_config_dir()


def in_use() -> Path:
    """The lock that whoever may write to the cache shares, and cleaning holds alone."""
    return home() / "cache.lock"


class Workspace:
    """A folder with the project's sources, its own parameters and outputs, and the shared cache.

    Args:
        folder: where it is or is to be; a lock file stands beside it.
        root: the project.
        cache: the DVC cache; that of the project by default.
    """

    def __init__(self, folder: Path, root: Path = ROOT, cache: Path | None = None) -> None:
        self.folder, self.root = folder.resolve(), root
        self.cache = cache.resolve() if cache else shared_cache(root)
        self.log = self.folder / LOG
        self._lock: int | None = None

    @property
    def lock(self) -> Path:
        """Whoever works in the folder holds this file."""
        return self.folder.with_name(f"{self.folder.name}.lock")

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the workspace for this process and its children; yields False where another one holds it."""
        with locked(in_use(), "waiting for the end of a cleaning", shared=True), locked(self.lock) as self._lock:
            try:
                yield self._lock is not None
            finally:
                self._lock = None

    def make(self, parameters: Mapping[str, Any]) -> None:
        """Bring the project's present sources and these parameters into the folder; outputs in it stay.

        Raises:
            DtiError: the project lacks a file, or the disk is full.
        """
        missing = [name for name in SOURCES if not (self.root / name).exists()]
        if missing:
            raise DtiError(f"{self.root}: {', '.join(missing)}: missing; run `python -m dti doctor --fix`")
        with full_disk_named(self.folder):
            shutil.rmtree(self.folder / "dti", ignore_errors=True)
            for name in SOURCES:
                _copy(self.root / name, self.folder / name)
        self._say_code()
        self.configure(parameters)

    def _say_code(self) -> None:
        """A copy has no git: it says itself of which commit it is one, so that a version made in it can be rebuilt."""
        if code := git.code_of(self.root, *SOURCES):
            self._write(git.COPIED, json.dumps(asdict(code)) + "\n")
        else:
            (self.folder / git.COPIED).unlink(missing_ok=True)

    def configure(self, parameters: Mapping[str, Any], *, scm: bool = False) -> None:
        """Write these parameters and DVC's settings into the folder; what else is in it, the caller brings.

        Args:
            scm: whether the folder is, or will be, a git repository of its own.

        Raises:
            DtiError: the disk is full.
        """
        local = f"[core]\n    no_scm = {str(not scm).lower()}\n    site_cache_dir = {self.folder}/.dvc/tmp/site\n"
        self._write(".dvc/config.local", f"{local}[cache]\n    dir = {self.cache}\n")
        self._write("params.yaml", yaml.safe_dump(dict(parameters), sort_keys=False))

    def _write(self, name: str, text: str) -> None:
        with atomic_file(self.folder / name) as partial:
            partial.write_text(text)

    def run(
        self, targets: Sequence[str], environment: Mapping[str, str] | None = None, tell: Tell | None = None
    ) -> None:
        """``dvc repro TARGETS`` in the folder; what it says goes to the terminal and to ``log.txt``.

        An interrupt is handed to the pipeline, which stops in order (a training keeps its checkpoint), and raised
        again after that; a second one stops it at once. Any other exception that a signal raises meanwhile ends the
        pipeline within seconds, as the end of this process does (``dti/leash.py``).

        Args:
            environment: variables beside those of this process.
            tell: takes the lines in place of the terminal, in a thread of its own.

        Raises:
            DtiError: the pipeline failed; names the log.
        """
        command = [sys.executable, "-P", str(LEASH), sys.executable, "-m", "dvc", "repro", *targets]
        with (
            self.log.open("a", buffering=1, encoding="utf-8") as log,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=_environment() | dict(environment or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,  # so that Ctrl-C reaches it once, through _follow
                pass_fds=() if self._lock is None else (self._lock,),
            ) as child,
        ):
            stopped = _follow(child, (log.write, tell or _show))
        if stopped:
            raise stopped
        if child.returncode:
            raise DtiError(f"`dvc repro {' '.join(targets)}` ended with exit code {child.returncode}; see {self.log}")

    def checkout(self, outputs: Sequence[str]) -> None:
        """Bring outputs that dvc.lock names from the cache into the folder.

        Raises:
            DtiError: the cache does not have them.
        """
        command = [sys.executable, "-m", "dvc", "checkout", "--quiet", *outputs]
        done = subprocess.run(command, cwd=self.folder, env=_environment(), capture_output=True, text=True)
        if done.returncode:
            raise DtiError(f"{', '.join(outputs)}: not in DVC's cache {self.cache}: {done.stderr.strip()}")

    def remove(self) -> None:
        """Remove the folder; the cache keeps what was computed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _environment() -> dict[str, str]:
    """This process's environment for a process in another folder: absolute places, and this interpreter first."""
    environment = dict(os.environ) | {"DTI_HOME": str(home()), "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if named := record_uri():
        environment["MLFLOW_TRACKING_URI"] = named
    if archives := os.environ.get("DTI_ARCHIVES"):
        environment["DTI_ARCHIVES"] = str(Path(archives).resolve())
    return environment


def _follow(child: "subprocess.Popen[bytes]", writers: Sequence[Tell]) -> BaseException | None:
    """Pass on the child's lines until it has ended; returns what was raised by a signal meanwhile."""
    assert child.stdout is not None
    assert child.stdin is not None
    reader = threading.Thread(target=_pass_on, args=(child.stdout, writers))
    reader.start()
    stopped: BaseException | None = None
    while reader.is_alive() or child.poll() is None:
        try:
            # Short waits: a signal that the system gives to another thread does not wake the main one.
            reader.join(WAIT) if reader.is_alive() else time.sleep(WAIT)
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
            child.send_signal(signal.SIGINT)
        except BaseException as termination:
            stopped = termination
            child.stdin.close()
    return stopped


def _pass_on(lines: IO[bytes], writers: Sequence[Tell]) -> None:
    """Hand every line on; who cannot take one gets no more, as a pipe that nobody reads would stop the work."""
    left = list(writers)
    with lines:
        for line in lines:
            text = line.decode("utf-8", "replace")
            left = [write for write in left if _took(write, text)]


def _took(write: Tell, text: str) -> bool:
    try:
        write(text)
    except Exception as error:
        with suppress(Exception):  # the terminal may be what is gone
            print(f"a line could not be shown, and none is any more: {error!r}", file=sys.stderr)
        return False
    return True


def _show(text: str) -> None:
    print(text, end="", flush=True)
