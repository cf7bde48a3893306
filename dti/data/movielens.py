"""Reader of MovieLens-1M, straight from its zip archive."""

import zipfile
from pathlib import Path

import polars as pl

from dti.data.raw import Raw
from dti.data.tables import Table, one_of, read_dat, refuse
from dti.errors import DtiError

ARCHIVE = "ml-1m.zip"
GENDERS = {"F": "female", "M": "male"}
AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 or older",
}
OCCUPATIONS = (
    "other occupation",
    "academic or educator",
    "artist",
    "clerical or admin",
    "college or grad student",
    "customer service",
    "doctor or health care",
    "executive or managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales or marketing",
    "scientist",
    "self-employed",
    "technician or engineer",
    "tradesman or craftsman",
    "unemployed",
    "writer",
)
CODES = {
    "gender": GENDERS,
    "age": AGES,
    "occupation": {str(code): word for code, word in enumerate(OCCUPATIONS)},
}


def _member(archive: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(f"ml-1m/{name}")
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise DtiError(f"{archive}: no ml-1m/{name} to be read ({error}); fetch it again") from error


def _users(table: Table) -> Table:
    """Codes become words; zip codes are left out."""
    refuse(table, [one_of(name, list(words)) for name, words in CODES.items()])
    words = [pl.col(name).replace_strict(words) for name, words in CODES.items()]
    return Table(table.name, table.frame.with_columns(words).drop("zip_code"))


def read_movielens(folder: Path) -> Raw:
    """The tables of ``ml-1m.zip`` in this folder: ratings of 1 to 5 stars, Latin-1 titles, genres as words.

    Raises:
        DtiError: the archive or a member cannot be read, or a profile has an unknown code.
    """
    archive = folder / ARCHIVE
    ratings = read_dat(_member(archive, "ratings.dat"), "ratings.dat", ("user_id", "item_id", "rating", "timestamp"))
    movies = read_dat(_member(archive, "movies.dat"), "movies.dat", ("item_id", "title", "genres"))
    fields = ("user_id", "gender", "age", "occupation", "zip_code")
    users = read_dat(_member(archive, "users.dat"), "users.dat", fields)
    genres = pl.col("genres").str.replace_all("|", " ", literal=True)
    items = Table(movies.name, movies.frame.with_columns(genres))
    return Raw(interactions=ratings, items=items, users=_users(users), stars=(1, 5))
