"""Files that appear whole or not at all, and their checksums."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dti.errors import DtiError, full_disk_named


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def _sweep(target: Path) -> None:
    """Remove what killed processes left half-written beside ``target``."""
    for left in target.parent.glob(f".{target.name}.*.partial"):
        number = left.name.split(".")[-2]
        if number.isdigit() and not alive(int(number)):
            _remove(left)


def alive(process: int) -> bool:
    """Whether a process of this id is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to write to; rename it to ``target`` on success, remove it on failure.

    Raises:
        DtiError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    _sweep(target)
    try:
        with full_disk_named(target):
            yield partial
            partial.replace(target)
    finally:
        _remove(partial)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; it replaces ``target`` on success and vanishes on failure.

    Raises:
        DtiError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    _sweep(target)
    _remove(partial)
    try:
        with full_disk_named(target):
            partial.mkdir()
            yield partial
            if target.exists():
                shutil.rmtree(target)
            partial.replace(target)
    finally:
        _remove(partial)


@contextmanager
def locked(path: Path, waiting: str | None = None, *, shared: bool = False) -> Iterator[int | None]:
    """Hold a lock file for this process, and for children that inherit its descriptor.

    Args:
        waiting: what to print before waiting for another holder; None: do not wait.
        shared: hold it beside others that share it.

    Yields:
        the descriptor; None where another process holds the file and nobody is to wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                yield None
                return
            print(waiting, flush=True)
            fcntl.flock(handle, kind)
        yield handle.fileno()


def write_json(target: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically; NaN is refused."""
    with atomic_file(target) as partial:
        partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DtiError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run the stage that makes it with `dvc repro`") from None
    except json.JSONDecodeError as error:
        raise DtiError(f"{path}: no valid JSON ({error}); remove it and run `dvc repro` again") from error


def sha256_of(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of one file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def digest_of(paths: Iterable[Path]) -> str:
    """One hex digest over files and folders: names below each given path, and contents, in sorted order.

    Python's bytecode does not count: it differs from place to place.
    """
    total = hashlib.sha256()
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.parent.name != "__pycache__")
        files = files if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            total.update(f"{name}\0{sha256_of(file)}\n".encode())
    return total.hexdigest()
