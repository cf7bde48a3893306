"""Checks of raw tables: what cannot be repaired is refused; what can be is counted, and its rule stated."""

import math

import polars as pl

from dti.data.raw import Check, Raw
from dti.data.tables import Offence, Rule, Table, distinct, number, offences, present, refuse
from dti.errors import DtiError

LONG = 1000  # characters
UNTITLED = "untitled"
UNKNOWN = "unknown"


def _value(raw: Raw) -> Rule:
    if raw.stars is None:
        return number("label", pl.Int64, 0, 1, "0 or 1")
    low, high = raw.stars
    expected = f"a rating from {low:g} to {high:g}" if math.isfinite(low) else "a number"
    return number("rating", pl.Float64, low, high, expected)


def _rules(raw: Raw) -> list[tuple[Table, list[Rule]]]:
    """What every value of each table must be."""
    time = Rule("timestamp", raw.clock.microseconds("timestamp").is_null(), raw.clock.expected)
    rules = [present("user_id"), present("item_id"), _value(raw), time]
    if "probability" in raw.interactions.columns:
        rules.append(number("probability", pl.Float64, 0, 1, "a probability from 0 to 1"))
    tables = [(raw.interactions, rules), (raw.items, [present("item_id"), distinct("item_id")])]
    if raw.users:
        tables.append((raw.users, [present("user_id"), distinct("user_id")]))
    return tables


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
    for table, rules in _rules(raw):
        refuse(table, rules)
    value = _value(raw).column
    refused = (f"{value}s out of range", "times that are no number", "missing ids", "repeated item or user ids")
    return [Check(what, 0, "refused with file and row") for what in refused]


def bad_values(raw: Raw, most: int) -> list[Offence]:
    """The first ``most`` values of each table that ``refuse_bad_values`` would stop at."""
    return [offence for table, rules in _rules(raw) for offence in offences(table, rules, most)]


def read_items(table: Table) -> tuple[pl.DataFrame, list[Check]]:
    """item_id and the text fields; an empty field is an empty string, an empty title "untitled"."""
    frame = table.frame.select("item_id", *(name for name in table.columns if name != "item_id")).collect()
    fields = pl.all().exclude("item_id").fill_null("")
    titled = "title" in frame.columns
    blank = (pl.col("title") if titled else pl.concat_str(fields)).str.strip_chars().fill_null("") == ""
    long = pl.any_horizontal(fields.str.len_chars() > LONG)
    counts = frame.select(blank.sum().alias("blank"), long.sum().alias("long")).row(0)
    without = Check("items without a title", counts[0], f'titled "{UNTITLED}"')
    if titled:
        frame = frame.with_columns(pl.when(blank).then(pl.lit(UNTITLED)).otherwise("title").alias("title"))
    else:
        without = Check("items without any text", counts[0], "kept; one token stands for them")
    cut = Check(f"items with a text of more than {LONG:,} characters", counts[1], "kept; pack cuts them")
    return frame.fill_null(""), [without, cut]


def read_users(table: Table, ids: pl.Series, only: bool) -> tuple[pl.DataFrame, list[Check]]:
    """user_id and the profile fields, also for those of ``ids`` that have none; for no others if ``only``."""
    frame = table.frame.select("user_id", *(name for name in table.columns if name != "user_id")).collect()
    known = pl.DataFrame({"user_id": ids.cast(pl.String)})
    if only:
        frame = frame.join(known, on="user_id", how="semi", maintain_order="left")
    missing = known.join(frame, on="user_id", how="anti")
    check = Check("users without a profile", len(missing), f'every field is "{UNKNOWN}"')
    return pl.concat([frame, missing], how="diagonal").fill_null(UNKNOWN), [check]
