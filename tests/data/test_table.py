"""The user's own files: what every format and oddity becomes."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from dti.data.delimited import scan_delimited
from dti.data.formats import columns_of
from dti.errors import DtiError
from dti.params import Data, Table
from dti.stages.prepare import prepare
from dti.stages.table import point

ROOT = Path(__file__).parents[2]
SECTION = yaml.safe_load((ROOT / "params.yaml").read_text())["table"]
DATA = {"name": "table", "sha256": None, "threshold": 3.0, "users": None, "min_context": 1, "split": "none"}
CSV = "user_id,item_id,label,timestamp,title\n007,01,1,10,pan\n007,1,0,20,tent\n7,01,1,15,pan\n7,1,0,25,tent\n"


class Desk:
    """A folder with the user's files; ``prepare`` runs the stages table and prepare on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mine"
        self.folder.mkdir()
        self.raw, self.interim = folder / "raw", folder / "interim"
        self.section: dict[str, Any] = SECTION | {"folder": str(self.folder)}

    def write(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    def prepare(self, data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        point(Table(**self.section | changes), self.raw)
        return prepare(self.raw, self.interim, Data(**DATA | (data or {})))

    def counts(self, **changes: Any) -> dict[str, int]:
        return {check["check"]: check["count"] for check in self.prepare(**changes)["checks"]}

    def read(self, name: str = "interactions") -> pl.DataFrame:
        return pl.read_parquet(self.interim / f"{name}.parquet")

    def times(self, kind: str, *values: object, zone: str = "UTC") -> list[int]:
        rows = [f"u1,i1,1,{value},pan" for value in values]
        self.write("interactions.csv", "\n".join(["user_id,item_id,label,timestamp,title", *rows]) + "\n")
        self.prepare(time=kind, timezone=zone)
        return self.read()["timestamp"].to_list()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.write("interactions.csv", CSV)
    return made


EXPECTED = [("007", "01", 1, 10), ("007", "1", 0, 20), ("7", "01", 1, 15), ("7", "1", 0, 25)]


def rows_of(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.read().select("user_id", "item_id", "label", "timestamp").rows()


@pytest.mark.parametrize("name", ["interactions.csv", "a.csv.gz", "a.tsv", "b.jsonl", "b.ndjson.gz", "c.parquet"])
def test_every_format_gives_the_same(desk, name):
    frame = pl.read_csv(CSV.encode(), schema_overrides={"user_id": pl.String, "item_id": pl.String})
    if name.startswith("b"):
        desk.write(name, "\n".join(json.dumps(row) for row in frame.to_dicts()) + "\n")
    elif name.startswith("c"):
        frame.write_parquet(desk.folder / name)
    else:
        desk.write(name, CSV.replace(",", "\t") if ".tsv" in name else CSV)
    report = desk.prepare(interactions=name)
    assert rows_of(desk) == EXPECTED
    assert desk.read("items").rows() == [("01", "pan"), ("1", "tent")]
    assert (report["users"], report["label_rate"], report["title"]) == (2, 0.5, "My data")


def test_ids_keep_leading_zeros_and_numbers_in_json_become_text(desk):
    lines = [{"user_id": 7, "item_id": 9007199254740993, "label": True, "timestamp": 10, "title": 'Käse 🧀 "x"'}]
    lines.append(lines[0] | {"timestamp": 20, "label": False})
    desk.write("a.jsonl", "\n".join(json.dumps(line) for line in lines))
    desk.prepare(interactions="a.jsonl")
    assert rows_of(desk) == [("7", "9007199254740993", 1, 10), ("7", "9007199254740993", 0, 20)]
    assert desk.read("items").rows() == [("9007199254740993", 'Käse 🧀 "x"')]


def test_other_columns_and_separators(desk):
    desk.write("x.csv", "wer;was;stern;wann;name\nü1;i1;4.5;10;a, b\nü1;i1;3;20;a, b\n")
    desk.prepare(
        interactions="x.csv", user="wer", item="was", label=None, rating="stern", timestamp="wann", item_fields=["name"]
    )
    assert desk.read().select("user_id", "label", "rating").rows() == [("ü1", 1, 4.5), ("ü1", 0, 3.0)]
    assert desk.read("items").rows() == [("i1", "a, b")]


def test_second_and_third_file(desk):
    desk.write("items.csv", "item_id,title,genre\n01,red pan,kitchen\n1,,camping\n")
    desk.write("users.jsonl", '{"user_id": "007", "age": 30}\n')
    counts = desk.counts(items="items.csv", users="users.jsonl", item_fields=["title", "genre"], user_fields=["age"])
    assert desk.read("items").rows() == [("01", "red pan", "kitchen"), ("1", "untitled", "camping")]
    assert desk.read("users").rows() == [("007", "30"), ("7", "unknown")]
    assert counts["users without a profile"] == 1


def test_ids_under_another_name_may_be_fields(desk):
    desk.write("a.csv", CSV.replace("item_id", "sku", 1))
    desk.prepare(interactions="a.csv", item="sku", item_fields=["sku", "title"])
    assert desk.read("items").rows() == [("01", "01", "pan"), ("1", "1", "tent")]


def test_fields_that_differ_between_rows_are_counted(desk):
    desk.write("interactions.csv", CSV.replace("7,01,1,15,pan", "7,01,1,15,pot"))
    assert desk.counts()["items whose fields differ from row to row"] == 1
    assert desk.read("items").rows() == [("01", "pan"), ("1", "tent")]


def test_times_in_seconds_and_milliseconds(desk):
    assert desk.times("seconds", 1700000000, "1700000001.75") == [1700000000, 1700000001]
    assert desk.times("milliseconds", 1700000000123, 1700000001000) == [1700000000, 1700000001]


@pytest.mark.parametrize(
    ("kind", "value", "hint"),
    [
        ("seconds", 1700000000123, "set table.time to milliseconds"),
        ("milliseconds", 1700000000, "set table.time to sec"),
    ],
)
def test_the_wrong_unit_is_refused(desk, kind, value, hint):
    with pytest.raises(DtiError, match=f"row 2, column timestamp: '{value}', but must be .*{hint}"):
        desk.times(kind, value)


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_iso_times_with_and_without_an_offset(desk):
    forms = ["2024-01-02T03:04:05Z", "2024-01-02 03:04:06+00:00", "2024-01-02T04:04:07.9+01:00", "2024-01-02T03:05"]
    expected = [epoch(f"2024-01-02T03:{tail}+00:00") for tail in ("04:05", "04:06", "04:07", "05:00")]
    assert desk.times("iso", *forms) == expected
    assert desk.times("iso", "2024-07-01", "2024-01-02 03:04:05", zone="Europe/Berlin") == [
        epoch("2024-01-02T03:04:05+01:00"),
        epoch("2024-07-01T00:00:00+02:00"),
    ]


def test_a_clock_that_is_set_back_or_forward(desk):
    """The hour that comes twice is taken as the first one; one that never was is refused."""
    assert desk.times("iso", "2024-10-27T01:30", "2024-10-27T02:30", zone="Europe/Berlin") == [
        epoch("2024-10-27T01:30:00+02:00"),
        epoch("2024-10-27T02:30:00+02:00"),
    ]
    with pytest.raises(DtiError, match="'2024-03-31T02:30:00', but must be an ISO 8601 time"):
        desk.times("iso", "2024-03-31T02:30:00", zone="Europe/Berlin")


def test_iso_times_to_the_minute_with_an_offset(desk):
    forms = ["2024-01-31T09:30Z", "2024-01-31T10:31+01:00", "2024-01-31 08:02-0130"]
    expected = [epoch(f"2024-01-31T09:{minute}:00+00:00") for minute in (30, 31, 32)]
    assert desk.times("iso", *forms, zone="Asia/Tokyo") == expected


def test_parquet_times_are_iso(desk):
    moments = [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2024, 1, 2, 3, 4, 6, tzinfo=UTC)]
    frame = pl.DataFrame({"user_id": [7, 7], "item_id": [1, 1], "label": [True, False], "timestamp": moments})
    frame = frame.with_columns(title=pl.lit("pan"))
    for number, column in enumerate((pl.col("timestamp"), pl.col("timestamp").dt.replace_time_zone(None))):
        frame.with_columns(column).write_parquet(desk.folder / f"{number}.parquet")
        desk.prepare(interactions=f"{number}.parquet", time="iso")
        assert rows_of(desk) == [("7", "1", 1, epoch(str(moments[0]))), ("7", "1", 0, epoch(str(moments[1])))]


def test_fractions_of_a_second_decide_the_order(desk):
    lines = ["u1,a,1,1700000000900,x", "u1,b,1,1700000000100,y", "u1,c,1,1700000000500,z"]
    desk.write("interactions.csv", "\n".join(["user_id,item_id,label,timestamp,title", *lines]))
    desk.prepare(time="milliseconds")
    assert desk.read()["item_id"].to_list() == ["b", "c", "a"]


def test_fractions_decide_the_split_as_well(desk):
    """All targets in one second: the split's order is that of the histories."""
    lines = [f"u{n % 5},i{n},1,{1700000000999 - n},x" for n in range(60)]
    desk.write("interactions.csv", "\n".join(["user_id,item_id,label,timestamp,title", *lines]))
    desk.prepare(data={"split": "time"}, time="milliseconds")
    places = {"context": 0, "train": 1, "valid": 2, "test": 3}
    frame = desk.read().with_columns(pl.col("split").replace_strict(places).alias("place"))
    assert set(frame["place"]) == {0, 1, 2, 3}
    assert frame.group_by("user_id").agg(pl.col("place").is_sorted())["place"].all()


@pytest.mark.parametrize(("values", "kept"), [(20, True), (21, False)])
def test_ratings_that_are_a_measurement_leave_labels_alone(desk, values, kept):
    rows = [f"u1,i1,{n + 0.25},{n},pan" for n in range(values)]
    desk.write("interactions.csv", "\n".join(["user_id,item_id,stars,timestamp,title", *rows]))
    counts = desk.counts(label=None, rating="stars")
    assert desk.read()["label"].to_list() == [0] * 3 + [1] * (values - 3)
    assert ("rating" in desk.read().columns) == kept
    assert counts.get("distinct ratings, too many for a scale", 0) == (0 if kept else 21)


def test_repeated_events(desk):
    desk.write("interactions.csv", CSV + "7,1,1,25,tent\n7,1,1,30,tent\n")
    counts = desk.counts()
    assert counts["duplicate interactions (same user, item and second)"] == 1
    assert counts["repeated interactions (same user and item, another time)"] == 1
    assert rows_of(desk)[2:] == [("7", "01", 1, 15), ("7", "1", 1, 25), ("7", "1", 1, 30)]


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        ("a.csv", CSV.replace("7,1,0", ",1,0"), {}, "a.csv, row 5, column user_id: empty"),
        ("a.csv", CSV, {"user": "who"}, "a.csv: no column who; the header has user_id, item_id, label"),
        ("a.csv", CSV.replace("title", "label,title", 1), {}, "a.csv: the header has label twice"),
        ("a.csv", CSV, {"label": None, "rating": "title"}, "row 2, column title: 'pan', but must be a number"),
        ("a.csv", CSV.replace("1,10", "nan,10"), {"label": None, "rating": "label"}, "row 2, column label: 'nan'"),
        ("a.csv", CSV, {"item_fields": ["brand"]}, "no column brand; the header has user_id"),
        ("a.jsonl", '{"user_id": 1}\n[1]\n', {}, "a.jsonl, row 2: no JSON object on one line"),
        ("a.jsonl", '{"user_id": 1, "it\n', {}, "a.jsonl, row 1: no JSON object on one line"),
        (
            "a.jsonl",
            '{"user_id": 1}\n',
            {},
            "a.jsonl: no column item_id, label, timestamp, title; its first rows have u",
        ),
        ("a.jsonl", "", {}, "a.jsonl: no column .*; the file is empty"),
        ("a.parquet", "no parquet", {}, "a.parquet: damaged, or no Parquet file"),
        ("a.csv.gz", b"", {"interactions": "b.csv.gz"}, "b.csv.gz: no such file; correct section table"),
    ],
)
def test_bad_files_are_named(desk, name, content, changes, message):
    desk.write(name, content)
    with pytest.raises(DtiError, match=message):
        desk.prepare(**{"interactions": name} | changes)
    assert not desk.interim.exists()


def test_json_lines_that_break_late_are_named(desk):
    good = json.dumps({"user_id": "1", "item_id": "2", "label": 1, "timestamp": 5, "title": "x"}) + "\n"
    desk.write("a.jsonl", good * 1500 + good[:20] + "\n")
    with pytest.raises(DtiError, match="a.jsonl, row 1501: no JSON object"):
        desk.prepare(interactions="a.jsonl")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "late.jsonl.gz"])
@pytest.mark.parametrize("damage", ["cut", "plain", "altered"])
def test_damaged_gzip_files_are_named(desk, name, damage):
    line = {"user_id": "1", "item_id": "2", "label": 1, "timestamp": 5, "title": "x"}
    rows = [json.dumps(line | {"timestamp": n}) for n in range(30_000 if name.startswith("late") else 3)]
    content = (CSV if ".csv" in name else "\n".join(rows)).encode()
    packed = gzip.compress(content)
    altered = packed[:-8] + bytes(4) + packed[-4:]  # the checksum
    broken = {"cut": packed[: len(packed) - 12], "plain": content, "altered": altered}[damage]
    (desk.folder / name).write_bytes(broken)
    with pytest.raises(DtiError, match=f"{name}: a truncated or broken gzip file .*; get it anew"):
        desk.prepare(interactions=name)


def test_a_fault_of_the_disk_is_not_taken_for_a_damaged_file(desk, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    desk.write("a.csv.gz", CSV)
    monkeypatch.setattr("dti.data.delimited.gzip.GzipFile.read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        scan_delimited(desk.folder / "a.csv.gz", "a.csv.gz", ["user_id"])


@pytest.mark.parametrize("name", ["a.csv", "b.jsonl", "c.parquet"])
def test_a_column_called_row_is_one_like_any_other(desk, name):
    frame = pl.read_csv(CSV.encode(), infer_schema=False).with_columns(row=pl.lit("9"))
    write = {"a": frame.write_csv, "b": frame.write_ndjson, "c": frame.write_parquet}[name[0]]
    write(desk.folder / name)
    desk.prepare(interactions=name)
    assert rows_of(desk) == EXPECTED
    assert "row" in columns_of(desk.folder / name, ["user_id"])


def test_a_file_that_changes_under_way_is_noticed(desk):
    point(Table(**desk.section), desk.raw)
    desk.write("interactions.csv", CSV + "7,1,1,30,tent\n")
    with pytest.raises(DtiError, match="interactions.csv: changed since stage table looked at it"):
        prepare(desk.raw, desk.interim, Data(**DATA))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "give one of table.label and table.rating"),
        ({"rating": "stars"}, "give one of table.label and table.rating"),
        ({"users": "users.csv"}, "table.user_fields are columns of table.users"),
        ({"timezone": "Mars"}, "'Mars' is no time zone"),
        ({"interactions": "a.xlsx"}, "String should match pattern"),
        ({"item_fields": ["title", "title"]}, "table.item_fields names 'title' twice; name each column once"),
        ({"item_fields": ["row"]}, "the field 'row' has a name that is used here"),
        ({"item_fields": ["item_id", "title"]}, "the field 'item_id' has a name that is used here; leave it out"),
        ({"users": "u.csv", "user_fields": ["user_id"]}, "the field 'user_id' has a name that is used here"),
    ],
)
def test_sections_that_cannot_work(changes, message):
    with pytest.raises(ValueError, match=message):
        Table(**SECTION | changes)
