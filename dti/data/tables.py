"""Delimited text files as lazy frames of strings, and refusals that name file, row and column."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dti.errors import DtiError

ROW = "row"  # the row's number in its file; a header is row 1
EXTRA = "fields beyond the header"
CHUNK = 1 << 24  # bytes


@dataclass(frozen=True)
class Table:
    """A file's columns, all strings (null = empty), and the row number of each row; ``name`` is what messages say."""

    name: str
    frame: pl.LazyFrame

    @property
    def columns(self) -> list[str]:
        """The file's own columns."""
        return [name for name in self.frame.collect_schema().names() if name not in (ROW, EXTRA)]


@dataclass(frozen=True)
class Rule:
    """What every value of a column must be; ``bad`` is true where it is not."""

    column: str
    bad: pl.Expr
    expected: str


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            yield chunk


def _check_utf8(source: Path | bytes, name: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = lines = 0
    for chunk in _chunks(source):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            byte = done - pending + error.start
            row = 1 + lines + chunk.count(b"\n", 0, max(0, error.start - pending))
            raise DtiError(f"{name}, row {row}, byte {byte}: not UTF-8; save the file as UTF-8") from None
        done += len(chunk)
        lines += chunk.count(b"\n")
    if decoder.getstate()[0]:
        raise DtiError(f"{name}, row {1 + lines}, byte {done}: the file ends within a UTF-8 character; get it anew")


def _scan(
    source: Path | bytes, columns: Sequence[str], *, separator: str, quote: str | None, first: int
) -> pl.LazyFrame:
    """The rows below the header, numbered from ``first``; blank ones are left out."""
    schema = dict.fromkeys([*columns, EXTRA], pl.String)
    return pl.scan_csv(
        source,
        separator=separator,
        quote_char=quote,
        schema=schema,
        missing_columns="insert",
        truncate_ragged_lines=True,
        row_index_name=ROW,
        row_index_offset=first,
    ).filter(pl.any_horizontal(pl.col(name).is_not_null() for name in schema))


def _header(path: Path, name: str) -> list[str]:
    if path.stat().st_size == 0:
        raise DtiError(f"{name}: the file is empty; get it anew")
    return pl.scan_csv(path, infer_schema=False, n_rows=0, truncate_ragged_lines=True).collect_schema().names()


def read_csv(path: Path, required: Sequence[str]) -> Table:
    """A UTF-8 CSV file with a header; columns beyond ``required`` are kept as they are.

    Raises:
        DtiError: no such file, not UTF-8, empty, a required column is missing.
    """
    name = path.name
    if not path.is_file():
        raise DtiError(f"{path}: not found; run the fetch stage again with `dvc repro --force --single-item`")
    _check_utf8(path, name)
    columns = _header(path, name)
    missing = [column for column in required if column not in columns]
    if missing:
        raise DtiError(f"{name}: no column {', '.join(missing)}; the header has {', '.join(columns)}")
    return Table(name, _scan(path, columns, separator=",", quote='"', first=2))


def read_dat(content: bytes, name: str, columns: Sequence[str]) -> Table:
    """A Latin-1 file without header, its fields separated by ``::``, as the older MovieLens sets have it."""
    lines = content.decode("latin-1").encode("utf-8").replace(b"::", b"\t")
    headed = "\t".join(columns).encode() + b"\n" + lines
    return Table(name, _scan(headed, columns, separator="\t", quote=None, first=1))


def present(column: str) -> Rule:
    """The column holds a value in every row."""
    return Rule(column, pl.col(column).is_null(), "a value")


def one_of(column: str, values: Sequence[str]) -> Rule:
    """The column holds one of these values."""
    return Rule(column, ~pl.col(column).is_in(values).fill_null(False), f"one of {', '.join(values)}")


def number(column: str, kind: type[pl.DataType], low: float, high: float | None, expected: str) -> Rule:
    """The column holds numbers of this kind, at least ``low`` and at most ``high``."""
    value = pl.col(column).cast(kind, strict=False)
    fits = value >= low if high is None else value.is_between(low, high)
    return Rule(column, ~fits.fill_null(False), expected)


def distinct(column: str) -> Rule:
    """No value of the column stands in two rows; the second one is the bad one."""
    return Rule(column, ~pl.col(column).is_first_distinct(), "an id that no earlier row has")


def refuse(table: Table, rules: Iterable[Rule]) -> None:
    """Stop at the first row that breaks a rule.

    Raises:
        DtiError: names file, row, column and value.
    """
    extra = Rule(EXTRA, pl.col(EXTRA).is_not_null(), "no more fields than the header has")
    checked = [extra, *rules]
    firsts = [pl.col(ROW).filter(rule.bad).min().alias(str(place)) for place, rule in enumerate(checked)]
    found = table.frame.select(firsts).collect(engine="streaming").row(0)
    broken = [(row, place) for place, row in enumerate(found) if row is not None]
    if broken:
        row, place = min(broken)
        rule = checked[place]
        value = table.frame.filter(pl.col(ROW) == row).select(rule.column).collect().item()
        raise DtiError(
            f"{table.name}, row {row}, column {rule.column}: {'empty' if value is None else repr(value)}, "
            f"but must be {rule.expected}; correct or remove the row"
        )
