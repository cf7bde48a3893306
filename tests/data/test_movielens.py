import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from dti.errors import DtiError
from dti.params import Data
from dti.stages.fetch import fetch
from dti.stages.prepare import prepare

REBUILT = "22a0ac3b4b764314f16c53ca6af43fa362c53636b9cb742a029682c2d356457a"


def test_tables_of_a_small_archive(cinema):
    report = cinema.prepare()
    assert cinema.read().rows() == [
        ("1", "2", 0, 3.0, 90, 0, "context"),
        ("1", "1", 1, 5.0, 100, 1, "train"),
        ("2", "2", 1, 4.0, 95, 0, "context"),
        ("2", "1", 0, 1.0, 95, 1, "train"),
    ]
    assert cinema.read().schema["rating"] == pl.Float32
    assert cinema.read("items").rows() == [
        ("1", "Misérables, Les (1995)", "Drama Musical"),
        ("2", "Alien", "Horror Sci-Fi"),
        ("3", "Unseen: a film (2000)", "Children's"),
    ]
    assert cinema.read("users").rows() == [
        ("1", "female", "under 18", "K-12 student"),
        ("2", "male", "56 or older", "self-employed"),
    ]
    assert report["items"] == 3


def test_the_threshold_makes_the_label(cinema):
    cinema.prepare(threshold=4.0)
    assert cinema.read()["label"].to_list() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ratings": "1::1::5::100\n1::2::6::90\n"}, "ratings.dat, row 2, column rating: '6', but must be .* 1 to 5"),
        ({"ratings": "1::1::5::100\n1::2::0::90\n"}, "ratings.dat, row 2, column rating: '0'"),
        ({"ratings": "1::1::5::100\n1::2::nan::90\n"}, "ratings.dat, row 2, column rating: 'nan'"),
        ({"ratings": "1::1::5\n"}, "ratings.dat, row 1, column timestamp: empty"),
        ({"ratings": "1::1::5::100::9\n"}, "ratings.dat, row 1, column fields beyond the header: '9'"),
        ({"ratings": ""}, r"ratings\.dat: the file has no rows"),
        ({"users": "1::X::1::10::48067\n"}, "users.dat, row 1, column gender: 'X', but must be one of F, M"),
        ({"users": "1::F::2::10::48067\n"}, "users.dat, row 1, column age: '2'"),
        ({"users": "1::F::1::21::48067\n"}, "users.dat, row 1, column occupation: '21'"),
    ],
)
def test_bad_rows_are_named(cinema, write_archive, files, message):
    write_archive(cinema.raw / "ml-1m.zip", **files)
    with pytest.raises(DtiError, match=message):
        cinema.prepare()


def test_lost_archive(cinema):
    (cinema.raw / "ml-1m.zip").unlink()
    with pytest.raises(DtiError, match="fetch it again"):
        cinema.prepare()


def set_of(shop, name, files):
    shop.name = name
    with zipfile.ZipFile(shop.raw / f"{name}.zip", "w") as archive:
        for file, text in files.items():
            archive.writestr(f"{name}/{file}", text.encode("latin-1" if file.startswith("u.") else "utf-8"))


GENRES_100K = "unknown|0\nAction|1\nDrama|2\n\n"


def test_100k(cinema):
    items = "1|Misérables (1995)|01-Jan-1995||http://x|0|1|1\n2|unknown||||1|0|0\n3|Plain (1990)|||http://y|0|0|0\n"
    files = {"u.data": "7\t1\t5\t20\n7\t2\t3\t10\n", "u.item": items, "u.genre": GENRES_100K}
    set_of(cinema, "ml-100k", files | {"u.user": "7|24|M|technician|85711\n"})
    cinema.prepare()
    rows = cinema.read().select("user_id", "item_id", "label", "rating", "timestamp").rows()
    assert rows == [("7", "2", 0, 3.0, 10), ("7", "1", 1, 5.0, 20)]
    expected = [("1", "Misérables (1995)", "Action Drama"), ("2", "unknown", "unknown"), ("3", "Plain (1990)", "")]
    assert cinema.read("items").rows() == expected
    assert cinema.read("users").rows() == [("7", "24", "male", "technician")]


@pytest.mark.parametrize("name", ["ml-25m", "ml-32m"])
def test_csv_sets(cinema, name):
    movies = 'movieId,title,genres\n1,"Misérables, Les (1995)",Drama|Musical\n2,Nothing,(no genres listed)\n'
    ratings = "userId,movieId,rating,timestamp\n7,1,3.5,20\n7,2,0.5,10\n"
    set_of(cinema, name, {"ratings.csv": ratings, "movies.csv": movies})
    cinema.prepare()
    assert cinema.read().select("item_id", "label", "rating").rows() == [("2", 0, 0.5), ("1", 1, 3.5)]
    expected = [("1", "Misérables, Les (1995)", "Drama Musical"), ("2", "Nothing", "")]
    assert cinema.read("items").rows() == expected
    assert not (cinema.interim / "users.parquet").exists()
    set_of(cinema, name, {"ratings.csv": ratings + "8,1,5.5,1\n", "movies.csv": movies})
    with pytest.raises(DtiError, match="ratings.csv, row 4, column rating: '5.5', but must be a rating from 0.5 to 5"):
        cinema.prepare()


@pytest.mark.skipif("DTI_ARCHIVES" not in os.environ, reason="needs ml-100k.zip in the folder DTI_ARCHIVES")
def test_counts_of_the_real_100k(cinema):
    cinema.name = "ml-100k"
    (cinema.raw / "ml-100k.zip").write_bytes((Path(os.environ["DTI_ARCHIVES"]) / "ml-100k.zip").read_bytes())
    report = cinema.prepare(min_context=5, split="time")
    assert (report["interactions"], report["users"], report["items"]) == (100_000, 943, 1_682)
    assert report["label_rate"] == 0.55375
    assert report["splits"] == {"train": 76_228, "valid": 9_528, "test": 9_529, "context": 4_715}
    assert cinema.read("items")["genres"].to_list()[0] == "Animation Children's Comedy"


@pytest.mark.skipif("DTI_ARCHIVES" not in os.environ, reason="needs ml-1m.zip in the folder DTI_ARCHIVES")
def test_counts_of_the_real_archive(tmp_path, monkeypatch, root):
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("name: demo", "name: ml-1m").replace("sha256: null", f"sha256: {REBUILT}")
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sources.yaml").write_bytes((root / "data/sources.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    fetch("ml-1m")
    data = Data(name="ml-1m", sha256=REBUILT, threshold=3.0, users=None, min_context=5, split="time")
    report = prepare(tmp_path / "data/raw/ml-1m", tmp_path / "interim", data)
    assert (report["interactions"], report["users"], report["items"]) == (1_000_209, 6_040, 3_883)
    assert report["splits"] == {"train": 776_007, "valid": 97_000, "test": 97_002, "context": 30_200}
    frame = pl.read_parquet(tmp_path / "interim/interactions.parquet")
    assert frame["rating"].value_counts().sort("rating")["count"].to_list() == [
        56_174,
        107_557,
        261_197,
        348_971,
        226_310,
    ]
    assert frame["item_id"].n_unique() == 3_706
    assert (frame["timestamp"].min(), frame["timestamp"].max()) == (956_703_932, 1_046_454_590)
    titles = pl.read_parquet(tmp_path / "interim/items.parquet")["title"].to_list()
    assert "Misérables, Les (1995)" in titles
