"""Starts the processes that train together on this machine, and ends all of them where one fails.

Messages go over the loopback interface, and the processes find one another by a file. Stop requests reach the starting
process alone, which passes each on once: a request ends a step, a second one the processes.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import ProcessContext, ProcessExitedException, ProcessRaisedException, start_processes

from dti.errors import DtiError
from dti.model.device import device_of
from dti.training.ranks import Ranks

GRACE = 10.0
"""Seconds that the other processes have to end by themselves when one has failed."""
PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first may write a large checkpoint meanwhile."""

Task = Callable[..., None]


def launch(task: Task, processes: int, device: str, *arguments: Any) -> None:
    """Call ``task(ranks, *arguments)`` in each of ``processes`` new processes; in this one where one is enough.

    Args:
        task: a function of a module.
        device: ``train.device``.

    Raises:
        DtiError: there are fewer GPUs than processes, a process ended with a DtiError, or it was killed.
        KeyboardInterrupt: a stop was asked for, and followed.
    """
    if processes == 1:
        task(Ranks(), *arguments)
        return
    kind = device_of(device).type
    if kind == "cuda" and torch.cuda.device_count() < processes:
        raise DtiError(
            f"train.processes: {processes}, but this machine has {torch.cuda.device_count()} GPUs; lower it, or set "
            "train.device cpu"
        )
    with tempfile.TemporaryDirectory(prefix="dti-ranks-") as name:
        given = (task, processes, kind, Path(name), arguments)
        context = start_processes(_begin, given, processes, join=False, start_method="spawn")
        with _passing_on(context):
            _watch(context, Path(name))


def _watch(context: ProcessContext, folder: Path) -> None:
    """Wait for all; end all where one fails."""
    try:
        while not context.join(timeout=1.0, grace_period=GRACE):
            pass
    except (ProcessExitedException, ProcessRaisedException) as error:
        if getattr(error, "exit_code", None) == 130:
            raise KeyboardInterrupt from None
        rank = error.error_index
        if (folder / f"error-{rank}").is_file():
            raise DtiError((folder / f"error-{rank}").read_text()) from None
        if isinstance(error, ProcessRaisedException):
            raise
        how = getattr(error, "signal_name", None) or f"exit code {error.exit_code}"
        raise DtiError(
            f"train: process {rank} of {len(context.processes)} (rank {rank}) was ended by {how}, and the others with "
            "it; look for a lack of memory (train.tokens_per_pass bounds it) and run again: the run goes on from its "
            "last checkpoint"
        ) from None
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()


@contextmanager
def _passing_on(context: ProcessContext) -> Iterator[None]:
    """Pass stop requests on to all processes."""

    def send(number: int, frame: FrameType | None) -> None:
        for process in context.processes:
            if process.is_alive():
                process.terminate()

    earlier = {number: signal.signal(number, send) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _begin(rank: int, task: Task, processes: int, kind: str, folder: Path, arguments: tuple[Any, ...]) -> None:
    """What a new process does."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the starting process alone
    if rank > 0:
        # The first process speaks for all; tracebacks go to the starting one by another way.
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process ends
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    if kind == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
        device = torch.device("cpu")
    else:
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    store = distributed.FileStore(str(folder / "meeting"), processes)
    backend = "nccl" if kind == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=PATIENCE)
        task(Ranks(rank, processes, device), *arguments)
        distributed.destroy_process_group()
    except DtiError as error:
        (folder / f"error-{rank}").write_text(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
