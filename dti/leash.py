"""Run a command that ends, with all its children, when its owner ends: ``python -P leash.py COMMAND ...``.

A killed flow leaves DVC behind, and a killed DVC its stage. This process stands between the two: its owner holds the
other end of its standard input. When that end closes, for whatever reason, or when the command itself is gone, what is
left of the command's process group is asked to stop, asked again, and killed. It needs no package, so that it starts
at once.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

GRACE = 4.0
"""Seconds between the first request to stop and the second, and between that and the end by force."""
REQUESTS = (signal.SIGINT, signal.SIGINT, signal.SIGKILL)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _send(group: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it may just have ended
        os.killpg(group, number)


def _end(group: int) -> None:
    """Stop a process group: in order (a training keeps its checkpoint), at once, by force."""
    for number in REQUESTS:
        if not _alive(group):
            return
        _send(group, number)
        until = time.monotonic() + GRACE
        while _alive(group) and time.monotonic() < until:
            time.sleep(0.1)


def _watch(group: int) -> None:
    """Wait until the owner has closed its end, then stop the group."""
    while os.read(0, 1024):
        pass
    _end(group)


def main() -> int:
    """Run the command; its exit code, or 128 and the signal that ended it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who is started with `&` ignores it, and so would the command
    # Descriptors that the owner hands down stay open: a lock is held as long as the command runs.
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False, process_group=0)

    def pass_on(number: int, frame: FrameType | None) -> None:
        _send(child.pid, signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    threading.Thread(target=_watch, args=(child.pid,), daemon=True).start()
    code = child.wait()
    _end(child.pid)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
