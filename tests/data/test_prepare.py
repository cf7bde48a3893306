import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from dti.data.demo import generate
from dti.errors import DtiError
from dti.stages import fetch
from dti.stages import prepare as stage

ROOT = Path(__file__).parents[2]


def test_interim_files_are_as_the_contract_says(shop):
    report = shop.prepare()
    types = {"user_id": pl.String, "item_id": pl.String, "label": pl.Int8, "timestamp": pl.Int64}
    assert dict(shop.read().schema) == types | {"order": pl.Int32, "split": pl.String}
    assert shop.read().rows() == [
        ("u1", "i1", 1, 10, 0, "context"),
        ("u1", "i2", 0, 20, 1, "train"),
        ("u2", "i1", 1, 15, 0, "context"),
        ("u2", "i2", 1, 25, 1, "train"),
    ]
    assert shop.read("items").columns == ["item_id", "title", "genres"]
    assert (shop.interim / "source.json").read_bytes() == (shop.raw / "source.json").read_bytes()
    assert not (shop.interim / "users.parquet").exists()
    assert report["splits"] == {"train": 2, "valid": 0, "test": 0, "context": 2}
    assert report["split_times"]["train"] == ["1970-01-01T00:00:20+00:00", "1970-01-01T00:00:25+00:00"]
    assert (report["interactions"], report["users"], report["items"], report["label_rate"]) == (4, 2, 2, 0.75)
    json.dumps(report, allow_nan=False)


def test_backwards_times_are_sorted_and_counted(shop):
    shop.clicks("u1,i1,1,20", "u1,i2,0,10", "u2,i1,1,5", "u1,i1,0,30")
    assert shop.counts()["interactions later in time but earlier in the file than the one before"] == 1
    assert shop.read()["timestamp"].to_list() == [10, 20, 30, 5]


def test_the_same_second_keeps_file_order(shop):
    shop.clicks("u1,i2,1,10", "u1,i1,0,10", "u1,i2,0,11")
    assert shop.counts()["interactions in the same second as their user's previous one"] == 1
    assert shop.read()["item_id"].to_list() == ["i2", "i1", "i2"]


def test_of_duplicates_the_last_in_the_file_is_kept(shop):
    shop.clicks("u1,i1,0,10", "u1,i2,0,10", "u1,i1,1,10", "u1,i1,0,20")
    counts = shop.counts()
    assert counts["duplicate interactions (same user, item and second)"] == 1
    assert counts["repeated interactions (same user and item, another time)"] == 1
    assert shop.read().select("item_id", "label").rows() == [("i2", 0), ("i1", 1), ("i1", 0)]


def test_unknown_items_are_dropped_and_counted(shop):
    shop.clicks("u1,i1,1,10", "u1,i9,1,15", "u1,i2,0,20")
    assert shop.counts()["interactions with unknown items"] == 1
    assert shop.read()["item_id"].to_list() == ["i1", "i2"]


def test_a_user_with_one_interaction_is_kept_as_context(shop):
    shop.clicks("u1,i1,1,10", "u1,i1,0,20", "u2,i1,1,30")
    counts = shop.counts()
    assert (counts["users with one interaction"], counts["items without an interaction"]) == (1, 1)
    assert shop.read().filter(user_id="u2")["split"].to_list() == ["context"]


def test_item_texts_enormous_empty_quoted_and_foreign(shop):
    shop.write("items.csv", f'item_id,title,genres\ni1,{"word " * 10_000},x\ni2,"  ",\ni3,"a, ""b""\nc",ü€\n')
    counts = shop.counts()
    assert counts["items without a title"] == 1
    assert counts["items with a text of more than 1,000 characters"] == 1
    assert shop.read("items").rows()[0][1] == "word " * 10_000
    assert shop.read("items").rows()[1:] == [("i2", "untitled", ""), ("i3", 'a, "b"\nc', "ü€")]


def test_users_without_a_profile_get_one(shop):
    shop.write("users.csv", "user_id,age,region\nu1,18-24,\n")
    assert shop.counts()["users without a profile"] == 1
    assert shop.read("users").sort("user_id").rows() == [("u1", "18-24", "unknown"), ("u2", "unknown", "unknown")]


def test_windows_files_with_byte_order_mark(shop):
    text = (shop.raw / "clicks.csv").read_text()
    shop.write("clicks.csv", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert shop.prepare()["interactions"] == 4


def test_many_rows_make_moderate_row_groups(shop, monkeypatch):
    monkeypatch.setattr("dti.data.interim.ROWS", 100)
    shop.clicks(*(f"u{row % 7},i1,1,{row}" for row in range(1000)))
    shop.prepare()
    parquet = pq.ParquetFile(shop.interim / "interactions.parquet")
    assert max(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)) <= 200
    keys = shop.read().select("user_id", "order").rows()
    assert keys == sorted(keys)


def test_failure_keeps_the_earlier_output(shop):
    shop.prepare()
    before = shop.read()
    shop.clicks("u1,i1,5,10")
    with pytest.raises(DtiError):
        shop.prepare()
    assert shop.read().equals(before)
    assert sorted(path.name for path in shop.raw.parent.iterdir()) == ["interim", "raw"]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    text = (ROOT / "params.yaml").read_text()
    params = text.replace("users: 2000", "users: 30").replace("interactions: 100000", "interactions: 900")
    (tmp_path / "params.yaml").write_text(params)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sources.yaml").write_bytes((ROOT / "data/sources.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stages_from_demo_to_report(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fetch", "demo"])
    fetch.main()
    stage.main()
    report = json.loads((project / "reports/data.json").read_text())
    assert (report["dataset"], report["official"], report["interactions"], report["users"]) == ("demo", True, 900, 30)
    assert report["splits"] == {"train": 600, "valid": 75, "test": 75, "context": 150}
    frame = pl.read_parquet(project / "data/interim/interactions.parquet")
    places = frame["split"].replace_strict({"context": 0, "train": 1, "valid": 2, "test": 3})
    assert (
        frame.select("user_id")
        .with_columns(place=places)
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("place").is_sorted().alias("consecutive"))["consecutive"]
        .all()
    )
    assert frame.schema["probability"] == pl.Float32


def test_the_same_raw_files_make_the_same_bytes(shop):
    generate(shop.raw, users=20, interactions=400, items=30, seed=3)
    shop.prepare()
    first = {path.name: path.read_bytes() for path in shop.interim.iterdir()}
    shop.prepare()
    assert first == {path.name: path.read_bytes() for path in shop.interim.iterdir()}


def test_prepare_imports_none_of_the_heavy_rooms():
    code = "import sys, dti.stages.prepare; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "dvc", "mlflow", "prefect"} & set(loaded.split())
