"""Who maps the shards of prepare and pack: this process, several on this machine, or an existing Dask cluster.

The work is cut the same way for all of them, so that they leave the same bytes.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dti.errors import DtiError
from dti.params import Workers

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""``map``, or an executor's: calls a function with each part, and gives what it returns in the order of the parts."""

PATIENCE = 20  # seconds for a scheduler to answer


@contextmanager
def mapper_of(workers: Workers) -> Iterator[Mapper]:
    """What maps the shards, as params.yaml says.

    Raises:
        DtiError: a process was killed; or the cluster does not answer, has no worker, or does not see this folder.
    """
    if workers.kind == "single":
        yield map
    elif workers.kind == "processes":
        with _pool(workers.processes) as pool:
            yield lambda function, parts: _mapped(pool, function, parts)
    else:
        with _cluster(str(workers.address)) as executor:
            # A lambda, as Dask sends those by value; and bytes, as its scheduler opens everything else.
            call = lambda packed: pickle.loads(packed)()  # noqa: E731, S301
            yield lambda function, parts: _mapped(executor, call, (_packed(function, part) for part in parts))


def _mapped(executor: Executor, function: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
    """As ``Executor.map``; after an error nothing more begins, and what a process of ours still does is waited for."""
    futures = [executor.submit(function, part) for part in parts]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@contextmanager
def _pool(processes: int) -> Iterator[Executor]:
    try:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            yield pool
    except BrokenProcessPool:
        raise DtiError(
            "workers: a process was killed, probably for want of memory; lower workers.processes, or "
            "pack.shard_interactions, and run again"
        ) from None


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise DtiError("workers.kind dask needs the package distributed: pip install distributed") from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DtiError(f"workers.address: no Dask scheduler answers at {address}: {error}") from None
    with client:
        _check(client.run(os.path.isdir, os.fspath(Path.cwd())), address)
        try:
            yield client.get_executor()
        except KilledWorker as error:
            raise DtiError(f"workers: the cluster lost a shard's workers again and again: {error}") from None


def _check(sees_folder: dict[str, bool], address: str) -> None:
    if not sees_folder:
        raise DtiError(f"workers.address: the Dask cluster at {address} has no worker; start some")
    if blind := [worker for worker, sees in sees_folder.items() if not sees]:
        raise DtiError(
            f"workers.address: the Dask worker {blind[0]} does not see the folder {Path.cwd()}; workers read and write "
            "there, so that it must be on a disk which all share, at the same place"
        )


def _packed(function: Callable[[Any], Any], part: Any) -> bytes:
    """A call that travels with its code: a Dask worker needs this project's packages, but not the project."""
    import cloudpickle

    import dti

    cloudpickle.register_pickle_by_value(dti)
    return bytes(cloudpickle.dumps(partial(function, part)))
