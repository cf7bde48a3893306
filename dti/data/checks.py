"""Checks of raw tables: what cannot be repaired is refused; what can be is counted, and its rule stated."""

from dataclasses import dataclass

import polars as pl

from dti.data.raw import Raw
from dti.data.tables import Rule, Table, distinct, number, present, refuse
from dti.errors import DtiError

LONG = 1000  # characters
LAST_SECOND = 253402300799  # the end of the year 9999
UNTITLED = "untitled"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """How often something was found, and what was done about it."""

    check: str
    count: int
    rule: str


def _value(raw: Raw) -> Rule:
    if raw.stars is None:
        return number("label", pl.Int64, 0, 1, "0 or 1")
    low, high = raw.stars
    return number("rating", pl.Float64, low, high, f"a rating from {low:g} to {high:g}")


def _refuse_empty(table: Table) -> None:
    if table.frame.select(pl.len()).collect(engine="streaming").item() == 0:
        raise DtiError(f"{table.name}: the file has no rows; get it anew")


def refuse_bad_values(raw: Raw) -> list[Check]:
    """Stop at an empty file, a missing id, a repeated item or user, or a value out of range.

    Raises:
        DtiError: names file, row, column and value.
    """
    _refuse_empty(raw.interactions)
    _refuse_empty(raw.items)
    value = _value(raw)
    rules = [present("user_id"), present("item_id"), value]
    rules.append(number("timestamp", pl.Int64, 0, LAST_SECOND, "whole seconds since 1970 (milliseconds are not)"))
    if "probability" in raw.interactions.columns:
        rules.append(number("probability", pl.Float64, 0, 1, "a probability from 0 to 1"))
    refuse(raw.interactions, rules)
    refuse(raw.items, [present("item_id"), distinct("item_id")])
    if raw.users:
        refuse(raw.users, [present("user_id"), distinct("user_id")])
    refused = (f"{value.column}s out of range", "times that are no number", "missing ids", "repeated item or user ids")
    return [Check(what, 0, "refused with file and row") for what in refused]


def read_items(table: Table) -> tuple[pl.DataFrame, list[Check]]:
    """item_id and the text fields; an empty field is an empty string, an empty title "untitled"."""
    frame = table.frame.select("item_id", *(name for name in table.columns if name != "item_id")).collect()
    blank = pl.col("title").str.strip_chars().fill_null("") == ""
    fields = pl.all().exclude("item_id").fill_null("").str.len_chars() > LONG
    counts = frame.select(blank.sum().alias("blank"), pl.any_horizontal(fields).sum().alias("long")).row(0)
    checks = [
        Check("items without a title", counts[0], f'titled "{UNTITLED}"'),
        Check(f"items with a text of more than {LONG:,} characters", counts[1], "kept; pack cuts them"),
    ]
    title = pl.when(blank).then(pl.lit(UNTITLED)).otherwise("title").alias("title")
    return frame.with_columns(title).fill_null(""), checks


def read_users(table: Table, ids: pl.Series, only: bool) -> tuple[pl.DataFrame, list[Check]]:
    """user_id and the profile fields, also for those of ``ids`` that have none; for no others if ``only``."""
    frame = table.frame.select("user_id", *(name for name in table.columns if name != "user_id")).collect()
    known = pl.DataFrame({"user_id": ids.cast(pl.String)})
    if only:
        frame = frame.join(known, on="user_id", how="semi", maintain_order="left")
    missing = known.join(frame, on="user_id", how="anti")
    check = Check("users without a profile", len(missing), f'every field is "{UNKNOWN}"')
    return pl.concat([frame, missing], how="diagonal").fill_null(UNKNOWN), [check]
