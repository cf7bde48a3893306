"""Reader of Amazon reviews, releases 2018 and 2023: ids, stars, times; title, brand and category of items.

Nothing else is read: reviewers' names and what they wrote stay in the raw file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from dti.data.delimited import read_csv
from dti.data.formats import read_jsonl
from dti.data.html import cleaned, has_markup, is_script, unescaped, untagged
from dti.data.raw import Check, Raw
from dti.data.tables import EXTRA, ROW, Table, present, refuse
from dti.data.times import WHOLE, Clock
from dti.files import read_json

REVIEWS = {  # our column: the release's
    "2018": {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime"},
    "2023": {"user_id": "user_id", "item_id": "parent_asin", "rating": "rating", "timestamp": "timestamp"},
}
METADATA = {
    "2018": {"item_id": "asin", "title": "title", "brand": "brand", "category": "category"},
    "2023": {"item_id": "parent_asin", "title": "title", "brand": "store", "category": "categories"},
}
CLOCKS = {"2018": WHOLE, "2023": Clock("milliseconds")}
LONGEST = 60  # characters of a category's name; what is longer is a sentence that slipped in
SENTENCE = r"[.!?]$"


def _renamed(table: Table, columns: Mapping[str, str]) -> Table:
    ours = [pl.col(theirs).alias(name) for name, theirs in columns.items()]
    return Table(table.name, table.frame.select(*ours, ROW, EXTRA), called=columns)


def _reviews(path: Path, columns: Mapping[str, str]) -> Table:
    required = list(columns.values())
    table = read_csv(path, required) if path.name.endswith(".csv.gz") else read_jsonl(path, required)
    return _renamed(table, columns)


def _brand() -> pl.Expr:
    """The maker's name: some begin with the word "by" of the page they come from."""
    return cleaned("brand").str.replace(r"(?i)^by\s+", "").alias("brand")


def _category() -> pl.Expr:
    """The names of the category's levels below the first, which all items share."""
    listed = pl.when(pl.col("category").str.starts_with("[")).then(pl.col("category"))
    name = untagged(pl.element())
    names = listed.str.json_decode(pl.List(pl.String)).list.eval(
        name.filter((name != "") & (name.str.len_chars() <= LONGEST) & ~name.str.contains(SENTENCE) & ~is_script(name))
    )
    distinct = names.list.unique(maintain_order=True)
    below = pl.when(distinct.list.len() > 1).then(distinct.list.slice(1)).otherwise(distinct)
    return unescaped(below.list.join(", ")).alias("category")


def _items(table: Table) -> tuple[Table, Sequence[Check]]:
    """Cleaned texts; of rows with the same id the first."""
    refuse(table, [present("item_id")])
    frame = table.frame.collect(engine="streaming")
    items = frame.unique("item_id", keep="first", maintain_order=True)
    marked, scripts = items.select(has_markup("title").sum().alias("marked"), is_script(pl.col("title")).sum()).row(0)
    items = items.with_columns(cleaned("title"), _brand(), _category())
    checks = (
        Check("metadata rows of an item that an earlier row has", len(frame) - len(items), "the file's first kept"),
        Check("item titles with HTML tags or entities", marked, "cleaned"),
        Check("item titles that are a page's script", scripts, "emptied"),
    )
    return Table(table.name, items.lazy(), table.called), checks


def read_amazon(folder: Path) -> Raw:
    """The tables of a category's reviews and metadata, as ``source.json`` of the folder names them.

    Raises:
        DtiError: a file is missing, damaged, or lacks a column.
    """
    facts = read_json(folder / "source.json")
    release = facts["name"].split("-")[1]
    reviews, metadata = (folder / name for name in facts["files"])
    columns = METADATA[release]
    texts = read_jsonl(metadata, [columns["item_id"], columns["title"]], [columns["brand"], columns["category"]])
    items, checks = _items(_renamed(texts, columns))
    interactions = _reviews(reviews, REVIEWS[release])
    return Raw(interactions, items, users=None, stars=(1, 5), clock=CLOCKS[release], checks=tuple(checks))
