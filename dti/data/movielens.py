"""Readers of the MovieLens sets, straight from their zip archives: stars, titles, genres as words."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from dti.data.delimited import read_dat, scan_delimited
from dti.data.raw import Raw
from dti.data.tables import EXTRA, ROW, Table, one_of, refuse
from dti.errors import DtiError

RATINGS = ("user_id", "item_id", "rating", "timestamp")
NO_GENRES = "(no genres listed)"
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
    member = f"{archive.stem}/{name}"
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member)
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise DtiError(f"{archive}: no {member} to be read ({error}); fetch it again") from error


def _in_words(table: Table, codes: Mapping[str, Mapping[str, str]]) -> Table:
    """Codes become words; zip codes are left out."""
    refuse(table, [one_of(name, list(words)) for name, words in codes.items()])
    words = [pl.col(name).replace_strict(words) for name, words in codes.items()]
    return Table(table.name, table.frame.with_columns(words).drop("zip_code"))


def _genres(movies: Table) -> Table:
    """``Drama|Musical`` becomes ``Drama Musical``."""
    genres = pl.col("genres").replace(NO_GENRES, None).str.replace_all("|", " ", literal=True)
    return Table(movies.name, movies.frame.with_columns(genres))


def read_100k(folder: Path) -> Raw:
    """The tables of ``ml-100k.zip``: 1 to 5 stars, Latin-1 titles, one column of 0 and 1 per genre, ages in years.

    Raises:
        DtiError: the archive or a member cannot be read, or a gender is unknown.
    """
    archive = folder / "ml-100k.zip"
    lines = _member(archive, "u.genre").decode("latin-1").split("\n")
    genres = [line.split("|")[0] for line in lines if "|" in line]
    columns = ("item_id", "title", "released", "video", "url", *genres)
    movies = read_dat(_member(archive, "u.item"), "u.item", columns, "|")
    words = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres]
    joined = pl.concat_str(words, separator=" ", ignore_nulls=True).alias("genres")
    users = read_dat(_member(archive, "u.user"), "u.user", ("user_id", "age", "gender", "occupation", "zip_code"), "|")
    return Raw(
        interactions=read_dat(_member(archive, "u.data"), "u.data", RATINGS, "\t"),
        items=Table(movies.name, movies.frame.select("item_id", "title", joined, ROW, EXTRA)),
        users=_in_words(users, {"gender": GENDERS}),
        stars=(1, 5),
    )


def read_1m(folder: Path) -> Raw:
    """The tables of ``ml-1m.zip``: 1 to 5 stars, Latin-1 titles, ages and occupations as codes.

    Raises:
        DtiError: the archive or a member cannot be read, or a profile has an unknown code.
    """
    archive = folder / "ml-1m.zip"
    fields = ("user_id", "gender", "age", "occupation", "zip_code")
    return Raw(
        interactions=read_dat(_member(archive, "ratings.dat"), "ratings.dat", RATINGS),
        items=_genres(read_dat(_member(archive, "movies.dat"), "movies.dat", ("item_id", "title", "genres"))),
        users=_in_words(read_dat(_member(archive, "users.dat"), "users.dat", fields), CODES),
        stars=(1, 5),
    )


def _csv(archive: Path, name: str, columns: Mapping[str, str]) -> Table:
    table = scan_delimited(_member(archive, name), name, list(columns))
    return Table(name, table.frame.rename(columns), called={ours: theirs for theirs, ours in columns.items()})


def read_csvs(folder: Path, name: str) -> Raw:
    """The tables of ``ml-25m.zip`` or ``ml-32m.zip``: CSV files, half stars from 0.5 to 5, no profiles.

    Raises:
        DtiError: the archive or a member cannot be read, or has other columns.
    """
    archive = folder / f"{name}.zip"
    ids = {"movieId": "item_id"}
    ratings = {"userId": "user_id", **ids, "rating": "rating", "timestamp": "timestamp"}
    movies = _csv(archive, "movies.csv", {**ids, "title": "title", "genres": "genres"})
    return Raw(_csv(archive, "ratings.csv", ratings), _genres(movies), users=None, stars=(0.5, 5))
