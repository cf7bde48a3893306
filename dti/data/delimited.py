"""Readers of delimited text: CSV files with a header, and MovieLens' files without one."""

import codecs
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import polars as pl

from dti.data.tables import EXTRA, ROW, Table
from dti.errors import DtiError

CHUNK = 1 << 24  # bytes
SEPARATORS = ",\t;|"
SECOND = "_duplicated_0"  # what polars adds to a column's name that the header has already


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """The file's bytes, unpacked where its name ends in .gz.

    Raises:
        DtiError: what is read is no gzip file, or a truncated or broken one.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            yield handle
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:  # other OSErrors are no fault of the content
        raise DtiError(
            f"{path}: a truncated or broken gzip file ({error}); get it anew, or drop .gz from its name if it is not "
            "compressed"
        ) from error


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK):
            yield source[start : start + CHUNK]
        return
    with opened(source) as handle:
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
    source: Path | bytes, columns: Sequence[str], *, separator: str, quote: str | None, first: int, header: bool = True
) -> pl.LazyFrame:
    """The rows below the header, numbered from ``first``; blank ones are left out."""
    schema = dict.fromkeys([*columns, EXTRA], pl.String)
    return pl.scan_csv(
        source,
        separator=separator,
        quote_char=quote,
        has_header=header,
        schema=schema,
        missing_columns="insert",
        truncate_ragged_lines=True,
        row_index_name=ROW,
        row_index_offset=first,
    ).filter(pl.any_horizontal(pl.col(name).is_not_null() for name in schema))


def _header(source: Path | bytes, name: str, required: Sequence[str]) -> tuple[list[str], str]:
    """The column names and the separator: the first one that finds all required columns."""
    if not next(_chunks(source), b""):
        raise DtiError(f"{name}: the file is empty; get it anew")
    found = {}
    for separator in SEPARATORS:
        scan = pl.scan_csv(source, separator=separator, infer_schema=False, n_rows=0, truncate_ragged_lines=True)
        found[separator] = scan.collect_schema().names()
        if set(required) <= set(found[separator]):
            _refuse_twice(found[separator], name, required)
            return found[separator], separator
    columns = max(found.values(), key=len)
    missing = [column for column in required if column not in columns]
    raise DtiError(f"{name}: no column {', '.join(missing)}; the header has {', '.join(columns)}")


def _refuse_twice(columns: Sequence[str], name: str, required: Sequence[str]) -> None:
    twice = [column for column in required if f"{column}{SECOND}" in columns]
    if twice:
        raise DtiError(f"{name}: the header has {', '.join(twice)} twice; rename one of them")


def scan_delimited(source: Path | bytes, name: str, required: Sequence[str]) -> Table:
    """UTF-8 text with a header, its fields separated by commas, tabs, semicolons or bars; other columns are kept.

    Raises:
        DtiError: damaged, not UTF-8, empty, a required column is missing.
    """
    _check_utf8(source, name)
    columns, separator = _header(source, name, required)
    return Table(name, _scan(source, columns, separator=separator, quote='"', first=2))


def read_csv(path: Path, required: Sequence[str]) -> Table:
    """A UTF-8 CSV file with a header; columns beyond ``required`` are kept as they are.

    Raises:
        DtiError: no such file, damaged, not UTF-8, empty, a required column is missing.
    """
    if not path.is_file():
        raise DtiError(f"{path}: not found; run the fetch stage again with `dvc repro --force --single-item`")
    return scan_delimited(path, path.name, required)


def read_dat(content: bytes, name: str, columns: Sequence[str], separator: str = "::") -> Table:
    """A Latin-1 file without header, as the older MovieLens sets have it."""
    lines = content.decode("latin-1").encode("utf-8")
    if len(separator) > 1:
        lines, separator = lines.replace(separator.encode(), b"\t"), "\t"
    return Table(name, _scan(lines, columns, separator=separator, quote=None, first=1, header=False))
