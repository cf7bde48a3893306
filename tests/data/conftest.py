"""A small shop on disk, which tests damage and prepare."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dti.params import Data
from dti.stages.prepare import prepare

FACTS = {"name": "demo", "title": "Demo", "sha256": "ab", "official": True, "url": None}
HEADER = "user_id,item_id,label,timestamp\n"


@dataclass
class Shop:
    """Raw files in ``raw``; ``prepare()`` makes ``interim`` of them and returns the report."""

    raw: Path
    interim: Path
    name: str = "demo"

    def write(self, name: str, content: str | bytes) -> None:
        (self.raw / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    def clicks(self, *rows: str) -> None:
        self.write("clicks.csv", HEADER + "".join(row + "\n" for row in rows))

    def prepare(self, **changes: Any) -> dict[str, Any]:
        data = {"name": self.name, "sha256": None, "threshold": 3.0, "users": None, "min_context": 1, "split": "none"}
        return prepare(self.raw, self.interim, Data(**data | changes))

    def counts(self, **changes: Any) -> dict[str, int]:
        return {check["check"]: check["count"] for check in self.prepare(**changes)["checks"]}

    def read(self, name: str = "interactions") -> pl.DataFrame:
        return pl.read_parquet(self.interim / f"{name}.parquet")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "raw", tmp_path / "interim")
    made.raw.mkdir()
    made.write("source.json", json.dumps(FACTS))
    made.write("items.csv", "item_id,title,genres\ni1,red pan,kitchen\ni2,blue tent,camping\n")
    made.clicks("u1,i1,1,10", "u1,i2,0,20", "u2,i1,1,15", "u2,i2,1,25")
    return made


MOVIES = "1::Misérables, Les (1995)::Drama|Musical\n2::Alien::Horror|Sci-Fi\n3::Unseen: a film (2000)::Children's\n"
USERS = "1::F::1::10::48067\n2::M::56::16::70072\n"
RATINGS = "1::1::5::100\n1::2::3::90\n2::2::4::95\n2::1::1::95\n"


def movielens_zip(path: Path, ratings: str = RATINGS, movies: str = MOVIES, users: str = USERS) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (("ratings", ratings), ("movies", movies), ("users", users)):
            archive.writestr(f"ml-1m/{name}.dat", text.encode("latin-1"))


@pytest.fixture
def write_archive() -> Callable[..., None]:
    return movielens_zip


@pytest.fixture
def cinema(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "raw", tmp_path / "interim", "ml-1m")
    made.raw.mkdir()
    made.write("source.json", json.dumps(FACTS | {"name": "ml-1m", "title": "MovieLens-1M"}))
    movielens_zip(made.raw / "ml-1m.zip")
    return made


@pytest.fixture
def root() -> Path:
    return Path(__file__).parents[2]
