"""Reader of click logs: ``clicks.csv``, ``items.csv`` and, where there are profiles, ``users.csv``."""

from pathlib import Path

from dti.data.delimited import read_csv
from dti.data.raw import Raw


def read_clicks(folder: Path) -> Raw:
    """The tables of a folder of UTF-8 CSV files with headers.

    Raises:
        DtiError: a file or a column is missing, a file is not UTF-8.
    """
    users = folder / "users.csv"
    return Raw(
        interactions=read_csv(folder / "clicks.csv", ("user_id", "item_id", "label", "timestamp")),
        items=read_csv(folder / "items.csv", ("item_id", "title")),
        users=read_csv(users, ("user_id",)) if users.exists() else None,
        stars=None,
    )
