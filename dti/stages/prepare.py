"""Stage prepare: raw files to checked, split interactions, items and users in data/interim/."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dti.data.amazon import read_amazon
from dti.data.checks import read_items, read_users, refuse_bad_values
from dti.data.clicks import read_clicks
from dti.data.histories import histories, keep_scale, read_interactions
from dti.data.interim import summarise, write_interim
from dti.data.movielens import read_1m, read_100k, read_csvs
from dti.data.raw import Raw
from dti.data.sample import keep_users
from dti.data.split import split
from dti.data.table import read_table
from dti.errors import run_or_exit
from dti.files import atomic_folder, read_json, write_json
from dti.params import Data, load_params
from dti.progress import Progress
from dti.workers import Mapper, mapper_of

RAW = Path("data/raw")
INTERIM = Path("data/interim")
REPORT = Path("reports/data.json")
READERS: dict[str, Callable[[Path], Raw]] = {
    "demo": read_clicks,
    "ml-100k": read_100k,
    "ml-1m": read_1m,
    "ml-25m": partial(read_csvs, name="ml-25m"),
    "ml-32m": partial(read_csvs, name="ml-32m"),
    "amazon-2018": read_amazon,
    "amazon-2018-5core": read_amazon,
    "amazon-2023": read_amazon,
    "amazon-2023-5core": read_amazon,
    "table": read_table,
}


def prepare(source: Path, interim: Path, data: Data, mapper: Mapper = map) -> dict[str, Any]:
    """Make the folder ``interim`` from the folder ``source`` and return the report on it.

    Args:
        mapper: puts parts of the histories in order.

    Raises:
        DtiError: bad input, or a full disk; ``interim`` is left as it was.
    """
    facts = read_json(source / "source.json")
    with Progress(f"prepare {data.name}", 4, "steps", every=0) as progress, atomic_folder(interim) as folder:
        raw = READERS[data.name](source)
        checks = refuse_bad_values(raw)
        progress.advance(1, "values checked")
        items, found = read_items(raw.items)
        frame, unknown = read_interactions(raw.interactions, items["item_id"], data.threshold, raw.clock)
        frame, measured = keep_scale(frame)
        read = frame["user_id"].n_unique()
        frame = keep_users(frame, data.users)
        progress.advance(1, f"{len(frame):,} interactions read")
        frame, more = histories(frame, mapper)
        frame = split(frame, data.min_context, data.split == "time")
        progress.advance(1, "histories sorted and split")
        ids = frame["user_id"].unique()
        users, profiles = read_users(raw.users, ids, only=data.users is not None) if raw.users else (None, [])
        write_interim(folder, frame, items, users)
        shutil.copyfile(source / "source.json", folder / "source.json")
        progress.advance(1, "written")
        return summarise(
            frame, len(items), read, facts, [*raw.checks, *checks, *found, *unknown, *measured, *more, *profiles]
        )


def main() -> None:
    """``python -m dti.stages.prepare``, in the project's folder."""
    params = load_params()
    with mapper_of(params.workers) as mapper:
        write_json(REPORT, prepare(RAW / params.data.name, INTERIM, params.data, mapper))


if __name__ == "__main__":
    run_or_exit(main)
