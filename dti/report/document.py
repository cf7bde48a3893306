"""What a report is made of, before it becomes HTML or Markdown.

Texts are plain; parts between backticks are names of files, parameters and commands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Span:
    """A value with its interval, which HTML also draws, on one scale for all rows of a table."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, whether it is the best of its column, and what to draw beside it."""

    text: str
    best: bool = False
    span: Span | None = None


@dataclass(frozen=True)
class Words:
    """Paragraphs or, if ``listed``, the points of a list."""

    texts: Sequence[str]
    listed: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Attributes:
        source: the files that the numbers come from.
        notes: what must be known to read it.
        drawn: the column whose spans are drawn; None draws nothing.
        zero: a value that the drawing marks, such as no difference.
        texts: columns of words, which are not aligned as numbers.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    source: str
    notes: Sequence[str] = ()
    drawn: int | None = None
    zero: float | None = None
    texts: Sequence[int] = ()

    @property
    def ends(self) -> tuple[float, float] | None:
        """The least and the largest value that is drawn; None where nothing is."""
        spans = [] if self.drawn is None else [row[self.drawn].span for row in self.rows]
        values = [x for span in spans if span for x in (span.low, span.value, span.high)]
        values += [self.zero] if values and self.zero is not None else []
        return (min(values), max(values)) if values else None

    def place(self, value: float) -> float:
        """Where a value is drawn, as per cent of the drawing's width; the ends keep a margin."""
        low, high = self.ends or (0.0, 0.0)
        return 50.0 if low == high else 4 + 92 * (value - low) / (high - low)


@dataclass(frozen=True)
class Figure:
    """A picture of the run: a PNG file, what it shows in words, and its caption."""

    path: Path
    alt: str
    caption: str
    source: str


Block = Words | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Fact:
    """One of the figures at the top of the page."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    facts: Sequence[Fact]
    sections: Sequence[Section] = field(default_factory=tuple)


def cells(*texts: str) -> list[Cell]:
    """A row of plain cells."""
    return [Cell(text) for text in texts]
