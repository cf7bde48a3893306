"""The one exception that users are meant to see."""

import errno
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class DtiError(Exception):
    """Bad input or a refused request; the message names file, row, column or parameter and what to do."""


def _is_full_disk(error: Exception) -> bool:
    """Whether an error means "no space left": libraries in Rust (polars, safetensors, tokenizers) say so in words."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"os error {errno.ENOSPC})" in str(error)


@contextmanager
def full_disk_named(path: object) -> Iterator[None]:
    """Turn "no space left" below ``path`` into an error that says where and what to do.

    Raises:
        DtiError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if _is_full_disk(error):
            raise DtiError(
                f"{path}: the disk is full; nothing was left half-written. Free space and run again."
            ) from error
        raise


def run_or_exit(main: Callable[[], None]) -> None:
    """Run a command: a DtiError becomes one line on stderr and exit code 1; Ctrl-C exits with 130, a reader that has
    gone (`| head`) with 141, as shells know them."""
    try:
        main()
        sys.stdout.flush()
    except DtiError as error:
        sys.exit(f"ERROR: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if not _reader_has_gone():  # another pipe, such as a worker's
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the end
        sys.exit(141)


def _reader_has_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
