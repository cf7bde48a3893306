"""Progress of long work: a live line on a terminal, plain lines elsewhere (logs, DVC, Prefect)."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Progress:
    """Counts ``unit``s of work up to ``total`` and shows rate and remaining time.

    On a terminal one line is redrawn; elsewhere a line is printed every ``every`` seconds, and a last one at the end.
    """

    def __init__(
        self, what: str, total: int, unit: str, *, done: int = 0, every: float = 10.0, out: TextIO | None = None
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.out = out or sys.stderr
        self.live = self.out.isatty()
        self.every = 0.2 if self.live else every
        self.first, self.began = done, time.monotonic()
        self.shown = self.began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._show("\n")
        elif self.live:
            self.out.write("\n")

    def advance(self, count: int, note: str = "") -> None:
        """Add ``count`` finished units; show a line when one is due."""
        self.done += count
        now = time.monotonic()
        if now - self.shown >= self.every:
            self.shown = now
            self._show("" if self.live else "\n", note)

    def _show(self, end: str, note: str = "") -> None:
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = (self.done - self.first) / seconds
        left = clock((self.total - self.done) / rate) if rate > 0 else "?"
        share = 100 * self.done / self.total if self.total else 100.0
        count = f"{self.done:,}/{self.total:,} {self.unit} ({share:.0f} %)"
        line = f"{self.what}: {count}, {rate:,.0f} {self.unit}/s, {left} left"
        self.out.write(("\r\x1b[K" if self.live else "") + line + (f", {note}" if note else "") + end)
        self.out.flush()
