"""Reader of the user's own files, as section ``table`` of params.yaml describes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from dti.data.formats import read_file
from dti.data.raw import Check, Raw
from dti.data.tables import EXTRA, ROW, Table
from dti.data.times import Clock
from dti.errors import DtiError
from dti.files import read_json, sha256_of
from dti.params import Table as Section

LABELS = {"true": "1", "True": "1", "TRUE": "1", "1.0": "1", "false": "0", "False": "0", "FALSE": "0", "0.0": "0"}


def _id(theirs: str, ours: str) -> pl.Expr:
    return pl.col(theirs).replace("", None).alias(ours)


def _interactions(section: Section, table: Table) -> Table:
    columns = {"user_id": section.user, "item_id": section.item, "timestamp": section.timestamp}
    if section.label is not None:
        columns["label"] = section.label
        value = pl.col(section.label).replace(LABELS).alias("label")
    else:
        assert section.rating is not None
        columns["rating"] = section.rating
        value = pl.col(section.rating).alias("rating")
    time = pl.col(section.timestamp).alias("timestamp")
    ids = (_id(section.user, "user_id"), _id(section.item, "item_id"))
    return Table(table.name, table.frame.select(*ids, value, time, ROW, EXTRA), called=columns)


def _fields(table: Table, theirs: str, ours: str, fields: Sequence[str]) -> Table:
    return Table(table.name, table.frame.select(_id(theirs, ours), *fields, ROW, EXTRA), called={ours: theirs})


def _items_beside(section: Section, table: Table) -> tuple[Table, Check]:
    """The items of the interactions' own file: each item's fields where it first stands."""
    fields = section.item_fields
    rows = table.frame.select(_id(section.item, "item_id"), *fields, ROW).drop_nulls("item_id")
    texts = rows.group_by("item_id", *fields).agg(pl.col(ROW).min()).collect(engine="streaming").sort(ROW)
    items = texts.unique("item_id", keep="first", maintain_order=True)
    changed = texts.filter(pl.col("item_id").is_duplicated())["item_id"].n_unique()
    check = Check("items whose fields differ from row to row", changed, "the file's first kept")
    return Table(table.name, items.lazy().with_columns(pl.lit(None, pl.String).alias(EXTRA))), check


def open_table(section: Section, interactions: Path) -> Raw:
    """The tables that a section describes, with another file of interactions if need be.

    Raises:
        DtiError: a file is missing, damaged, of an unknown format, or lacks a column that the section names.
    """
    folder = Path(section.folder)
    value = section.label if section.rating is None else section.rating
    assert value is not None
    beside = section.item_fields if section.items is None else []
    table = read_file(interactions, [section.user, section.item, value, section.timestamp, *beside])
    checks: tuple[Check, ...] = ()
    if section.items is None:
        items, check = _items_beside(section, table)
        checks = (check,)
    else:
        texts = read_file(folder / section.items, [section.item, *section.item_fields])
        items = _fields(texts, section.item, "item_id", section.item_fields)
    users = None
    if section.users is not None:
        profiles = read_file(folder / section.users, [section.user, *section.user_fields])
        users = _fields(profiles, section.user, "user_id", section.user_fields)
    stars = None if section.rating is None else (float("-inf"), float("inf"))
    clock = Clock(section.time, section.timezone)
    return Raw(_interactions(section, table), items, users, stars, clock, checks)


def read_table(folder: Path) -> Raw:
    """The user's files as stage table found them.

    Raises:
        DtiError: as ``open_table``; or a file has changed since.
    """
    found: Mapping[str, str] = read_json(folder / "source.json")["sha256_of"]
    section = Section.model_validate(read_json(folder / "table.json"))
    for name, sha256 in found.items():
        path = Path(section.folder) / name
        if not path.is_file() or sha256_of(path) != sha256:
            raise DtiError(f"{path}: changed since stage table looked at it; run `dvc repro` again")
    return open_table(section, Path(section.folder) / section.interactions)
