"""`python -m dti check`: what section table of params.yaml makes of a file, and what is wrong with it."""

import argparse
from pathlib import Path
from typing import Any

import polars as pl

from dti.data.checks import bad_values, read_items
from dti.data.formats import columns_of
from dti.data.histories import histories, read_interactions
from dti.data.interim import summarise
from dti.data.raw import Raw
from dti.data.split import split
from dti.data.table import open_table
from dti.errors import DtiError
from dti.params import Params, Table, load_params
from dti.prompts.template import Template

OFFENCES = 10
SAMPLES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file, and how many rows are named."""
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="the file of interactions; by default the one of section table of params.yaml",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print what was understood, then what is wrong.

    Raises:
        DtiError: something is wrong.
    """
    params = load_params()
    section = params.table
    path = arguments.file or Path(section.folder) / section.interactions
    raw = open_table(section, path)
    print("\n".join(_columns(section, path)), flush=True)
    _refuse(raw)
    items, repaired = read_items(raw.items)
    print("\n".join(_samples(params, items)), flush=True)
    frame, unknown = read_interactions(raw.interactions, items["item_id"], params.data.threshold, raw.clock)
    ordered, more = histories(frame)
    lengths = ordered.group_by("user_id").len()["len"]
    made = split(ordered, params.data.min_context, params.data.split == "time")
    facts = {"name": "table", "title": section.title, "sha256": "", "official": True}
    checks = [*raw.checks, *repaired, *unknown, *more]
    print("\n".join(_facts(summarise(made, len(items), lengths.len(), facts, checks), lengths)))
    print("all is well; `dvc repro` with data.name: table runs the pipeline on it")


def _columns(section: Table, path: Path) -> list[str]:
    """Which column is read as what."""
    value = section.label if section.rating is None else section.rating
    kind = "label" if section.rating is None else "rating"
    used = {"user": section.user, "item": section.item, kind: str(value), "time": section.timestamp}
    there = columns_of(path, list(used.values()))
    lines = [f"{path}", *(f"  {role:12}{column}" for role, column in used.items())]
    beside = section.item_fields if section.items is None else []
    lines.append(f"  {'item fields':12}{', '.join(section.item_fields)} (in {section.items or path.name})")
    if section.users is not None:
        lines.append(f"  {'user fields':12}{', '.join(section.user_fields)} (in {section.users})")
    ignored = [name for name in there if name not in {*used.values(), *beside}]
    return [*lines, f"  {'not read':12}{', '.join(ignored) or 'none'}"]


def _refuse(raw: Raw) -> None:
    found = bad_values(raw, OFFENCES)[:OFFENCES]
    if found:
        lines = "\n  ".join(str(offence) for offence in found)
        raise DtiError(f"the first wrong values (at most {OFFENCES} are shown); correct or remove the rows:\n  {lines}")
    if raw.interactions.frame.select(pl.len()).collect(engine="streaming").item() == 0:
        raise DtiError(f"{raw.interactions.name}: the file has no rows")


def _samples(params: Params, items: pl.DataFrame) -> list[str]:
    """The first items as their template writes them."""
    name = "pack.templates.table.item"
    entry = params.pack.templates.get("table")
    if entry is None:
        raise DtiError(f"{name}: missing; params.yaml must give the table a template")
    template = Template.parse(entry.item, [column for column in items.columns if column != "item_id"], name)
    texts = [template.render(row) or "(no text)" for row in items.head(SAMPLES).iter_rows(named=True)]
    return ["item texts, by " + name, *(f"  {text!r}" for text in texts)]


def _facts(report: dict[str, Any], lengths: pl.Series) -> list[str]:
    splits = ", ".join(f"{report['splits'][name]:,} {name}" for name in ("train", "valid", "test", "context"))
    found = [check for check in report["checks"] if check["count"]]
    return [
        f"interactions  {report['interactions']:,} of {report['users']:,} users with {report['items']:,} items",
        f"histories     median {lengths.sort()[len(lengths) // 2]}, longest {lengths.sort()[-1]}",
        f"label rate    {report['label_rate']:.4f}",
        f"time          {report['first_time']} to {report['last_time']}",
        f"targets       {splits}",
        "found and repaired" if found else "nothing to repair",
        *(f"  {check['count']:,} {check['check']}: {check['rule']}" for check in found),
    ]
