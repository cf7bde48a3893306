"""Reader of a user's file in any of the formats that its name can end in."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from dti.data.delimited import opened, scan_delimited
from dti.data.tables import EXTRA, ROW, Table
from dti.errors import DtiError

LOOKED_AT = 1000  # lines of a JSON file that tell which columns there are
_ISO = "%Y-%m-%dT%H:%M:%S%.f"


def read_file(path: Path, required: Sequence[str]) -> Table:
    """The columns of a CSV, JSON lines or Parquet file, at least ``required`` ones, as strings.

    Raises:
        DtiError: no such file, another format, damaged, or a required column is missing.
    """
    if not path.is_file():
        raise DtiError(f"{path}: no such file")
    kind = _kind(path)
    if kind in (".csv", ".tsv"):
        return scan_delimited(path, path.name, required)
    if kind in (".jsonl", ".ndjson"):
        return read_jsonl(path, required)
    if kind == ".parquet":
        return _read_parquet(path, required)
    raise DtiError(f"{path}: the name must end in .csv, .tsv, .jsonl, .ndjson (each also with .gz) or .parquet")


def _kind(path: Path) -> str:
    return path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix


def columns_of(path: Path, required: Sequence[str]) -> list[str]:
    """The names of the columns of a file that ``read_file`` can read."""
    kind = _kind(path)
    if kind == ".parquet":
        return pl.scan_parquet(path).collect_schema().names()
    return _keys(path) if kind in (".jsonl", ".ndjson") else read_file(path, required).columns


def _lines(path: Path) -> Iterator[bytes]:
    """The lines that are not blank: the rows that messages number from 1."""
    with opened(path) as handle:
        yield from (line for line in handle if line.strip())


def _object(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def _refuse_broken(path: Path, error: Exception) -> NoReturn:
    """Find the first line that is no JSON object."""
    for row, line in enumerate(_lines(path), 1):
        try:
            _object(line)
        except ValueError:
            raise DtiError(f"{path.name}, row {row}: no JSON object on one line; correct or remove the row") from error
    raise DtiError(f"{path.name}: cannot be read as JSON lines: {error}") from error


def _keys(path: Path) -> list[str]:
    """The keys of the first lines, in the order in which they come."""
    keys: dict[str, None] = {}
    try:
        for line in islice(_lines(path), LOOKED_AT):
            keys |= dict.fromkeys(_object(line))
    except ValueError as error:
        _refuse_broken(path, error)
    return list(keys)


def read_jsonl(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """The named columns of a file with one JSON object a line; others are not read. Nested values stay JSON text.

    Raises:
        DtiError: damaged, a line is no JSON object, or a required column is in none of the first lines.
    """
    keys = _keys(path)
    if missing := [name for name in required if name not in keys]:
        has = f"its first rows have {', '.join(keys)}" if keys else "the file is empty"
        raise DtiError(f"{path.name}: no column {', '.join(missing)}; {has}")
    schema = dict.fromkeys([*required, *optional], pl.String)
    scan = pl.scan_ndjson(path, schema=schema, row_index_name=ROW, row_index_offset=1)
    try:
        frame = scan.collect(engine="streaming")  # once: parsing JSON takes longer than all the rest
    except pl.exceptions.PolarsError as error:
        _refuse_broken(path, error)
    except OSError:  # also of a damaged gzip file, which reading it once more tells from a fault of the disk
        for _ in _lines(path):
            pass
        raise
    return Table(path.name, frame.lazy().with_columns(pl.lit(None, pl.String).alias(EXTRA)))


def _text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, pl.Datetime):
        moment = column if kind.time_zone is None else column.dt.convert_time_zone("UTC")
        return moment.dt.to_string(_ISO if kind.time_zone is None else f"{_ISO}+00:00").alias(name)
    return column.cast(pl.String)


def _read_parquet(path: Path, required: Sequence[str]) -> Table:
    """The columns that can be written as text; lists and structs are left out."""
    try:
        schema = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DtiError(f"{path}: damaged, or no Parquet file ({error})") from error
    flat = {name: kind for name, kind in schema.items() if not kind.is_nested() and kind != pl.Binary}
    if missing := [name for name in required if name not in flat]:
        raise DtiError(f"{path.name}: no column {', '.join(missing)}; there are {', '.join(flat)}")
    texts = [_text(name, kind) for name, kind in flat.items()]
    frame = pl.scan_parquet(path, row_index_name=ROW, row_index_offset=1).select(ROW, *texts)
    return Table(path.name, frame.with_columns(pl.lit(None, pl.String).alias(EXTRA)))
