"""Amazon reviews of both releases; the real files where DTI_ARCHIVES has them."""

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from dti.errors import DtiError
from dti.params import Data
from dti.stages.fetch import fetch
from dti.stages.prepare import prepare

OLD = {"reviewerName": "Jane Secret", "reviewText": "private words", "summary": "private"}
NEW = {"text": "private words", "title": "Jane Secret's opinion"}
SCRIPT = "var aPageStart = (new Date()).getTime(); var x = 1;"
META_2018 = [
    {"asin": "A1", "title": "Tin &amp; Box", "brand": "by\n  Acme", "category": ["Root", "Home &amp; Garden", "Tools"]},
    {"asin": "A1", "title": "Again", "brand": "", "category": []},
    {
        "asin": "A2",
        "title": SCRIPT,
        "brand": "<b>Bolt</b>",
        "category": ["Root", "</span>", "A long sentence about it."],
    },
    {"asin": "A3", "title": '<span class="a"', "category": "Root"},
]


def review_2018(user: str, item: str, stars: float, time: int) -> dict[str, Any]:
    return {"reviewerID": user, "asin": item, "overall": stars, "unixReviewTime": time, **OLD}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


def prepared(folder: Path, name: str, files: dict[str, bytes], **changes: Any) -> tuple[dict[str, Any], Path]:
    raw = folder / "raw"
    raw.mkdir()
    for file, content in files.items():
        (raw / file).write_bytes(content)
    facts = {"name": name, "title": name, "sha256": "ab", "official": True, "url": None, "files": list(files)}
    (raw / "source.json").write_text(json.dumps(facts))
    data = {"name": name, "sha256": None, "threshold": 3.0, "users": None, "min_context": 1, "split": "none"}
    return prepare(raw, folder / "interim", Data(**data | changes)), folder / "interim"


REVIEWS = [
    review_2018("U1", "A1", 5.0, 100),
    review_2018("U1", "A2", 4.0, 200),
    review_2018("U1", "A2", 4.0, 200),
    review_2018("U1", "A3", 2.0, 300),
    review_2018("U1", "A9", 2.0, 300),
]


def test_the_release_of_2018(tmp_path):
    files = {"X_5.json.gz": lines(REVIEWS), "meta_X.json.gz": lines(META_2018)}
    report, interim = prepared(tmp_path, "amazon-2018-5core", files, threshold=4.0)
    frame = pl.read_parquet(interim / "interactions.parquet")
    assert frame.select("user_id", "item_id", "rating", "label", "timestamp").rows() == [
        ("U1", "A1", 5.0, 1, 100),
        ("U1", "A2", 4.0, 0, 200),
        ("U1", "A3", 2.0, 0, 300),
    ]
    assert pl.read_parquet(interim / "items.parquet").rows() == [
        ("A1", "Tin & Box", "Acme", "Home & Garden, Tools"),
        ("A2", "untitled", "Bolt", "Root"),
        ("A3", "untitled", "", ""),
    ]
    counts = {check["check"]: check["count"] for check in report["checks"]}
    assert counts["metadata rows of an item that an earlier row has"] == 1
    assert counts["item titles with HTML tags or entities"] == 2
    assert counts["item titles that are a page's script"] == 1
    assert counts["duplicate interactions (same user, item and second)"] == 1
    assert counts["interactions with unknown items"] == 1
    assert counts["items that interactions name and the items file lacks"] == 1


META_2023 = [
    {"parent_asin": "P1", "title": "Lamp", "store": "Lux", "categories": ["Home", "Light"], "price": None},
    {"parent_asin": "P2", "title": None, "store": None, "categories": []},
]


@pytest.mark.parametrize("core", [True, False])
def test_the_release_of_2023(tmp_path, core):
    rows = [("V1", "P1", 5.0, 1700000000123), ("V1", "P2", 1.0, 1600000000456)]
    names = ("user_id", "parent_asin", "rating", "timestamp")
    if core:
        text = "\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)])
        files = {"X.csv.gz": gzip.compress(text.encode())}
    else:
        files = {"X.jsonl.gz": lines([dict(zip(names, row, strict=True)) | {"asin": "other", **NEW} for row in rows])}
    files["meta_X.jsonl.gz"] = lines(META_2023)
    _, interim = prepared(tmp_path, "amazon-2023-5core" if core else "amazon-2023", files)
    frame = pl.read_parquet(interim / "interactions.parquet")
    assert frame.select("item_id", "label", "timestamp").rows() == [("P2", 0, 1600000000), ("P1", 1, 1700000000)]
    assert pl.read_parquet(interim / "items.parquet").rows() == [
        ("P1", "Lamp", "Lux", "Light"),
        ("P2", "untitled", "", ""),
    ]


@pytest.mark.parametrize(
    ("reviews", "message"),
    [
        ([*REVIEWS, review_2018("U1", "A1", 6.0, 5)], "X_5.json.gz, row 6, column overall: '6', but must be a rating"),
        ([*REVIEWS, review_2018("U1", "A1", 5.0, -5)], "X_5.json.gz, row 6, column unixReviewTime: '-5'"),
        ([OLD], "X_5.json.gz: no column reviewerID, asin, overall, unixReviewTime"),
    ],
)
def test_bad_rows_are_named_and_quote_nothing_private(tmp_path, reviews, message):
    files = {"X_5.json.gz": lines(reviews), "meta_X.json.gz": lines(META_2018)}
    with pytest.raises(DtiError, match=message) as error:
        prepared(tmp_path, "amazon-2018-5core", files)
    assert "Secret" not in str(error.value)
    assert "private" not in str(error.value)


@pytest.mark.parametrize("name", ["amazon-2018", "amazon-2018-5core", "amazon-2023"])
def test_nothing_private_leaves_the_raw_files(tmp_path, name):
    new = name == "amazon-2023"
    rows = [
        {"user_id": "U1", "parent_asin": "P1", "rating": 5, "timestamp": 1700000000000 + n, **NEW} for n in range(3)
    ]
    files = {"X.gz": lines(rows if new else REVIEWS), "meta_X.gz": lines(META_2023 if new else META_2018)}
    files = {file.replace(".gz", ".jsonl.gz" if new else ".json.gz"): content for file, content in files.items()}
    report, interim = prepared(tmp_path, name, files, min_context=0)
    written = json.dumps(report).encode() + b"".join(path.read_bytes() for path in interim.iterdir())
    for parquet in interim.glob("*.parquet"):  # uncompressed, too
        written += pl.read_parquet(parquet).write_csv().encode()
    assert b"P1" in written or b"A1" in written
    assert b"Secret" not in written
    assert b"private" not in written


class Shelf:
    """A project whose archives' folder holds made-up files."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        (folder / "shelf").mkdir()
        (folder / "data").mkdir()
        (folder / "data/sources.yaml").write_bytes((root / "data/sources.yaml").read_bytes())

    def fetch(self, sha256: Any) -> dict[str, Any]:
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params["data"] |= {"name": "amazon-2018-5core", "sha256": sha256}
        params["amazon"]["category"] = "X"
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))
        fetch("amazon-2018-5core")
        return json.loads((self.folder / "data/raw/amazon-2018-5core/source.json").read_text())


@pytest.fixture
def shelf(tmp_path, monkeypatch, root) -> Shelf:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DTI_ARCHIVES", str(tmp_path / "shelf"))
    return Shelf(tmp_path, root)


def test_files_without_a_published_checksum_need_one_from_the_user(shelf):
    contents = {"X_5.json.gz": lines(REVIEWS), "meta_X.json.gz": lines(META_2018)}
    for name, content in contents.items():
        (shelf.folder / "shelf" / name).write_bytes(content)
    digests = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    with pytest.raises(DtiError, match=f"is published; its SHA-256 is {digests[0]}[^\n]*\n.* {digests[1]}"):
        shelf.fetch(None)
    with pytest.raises(DtiError, match=f"meta_X.json.gz: no checksum .* is {digests[1]}"):
        shelf.fetch(digests[0])
    facts = shelf.fetch(digests)
    assert (facts["title"], facts["official"]) == ("Amazon X 2018, 5-core (no published checksum)", False)
    assert facts["files"] == list(contents)


def test_nothing_without_a_checksum_is_downloaded_unseen(shelf):
    with pytest.raises(DtiError, match=r"X_5\.json\.gz: no checksum of it is published.*DTI_ARCHIVES"):
        shelf.fetch(None)


def test_a_truncated_file(shelf):
    content = lines(REVIEWS)[:-9]
    (shelf.folder / "shelf/X_5.json.gz").write_bytes(content)
    with pytest.raises(DtiError, match="truncated or broken gzip"):
        shelf.fetch(hashlib.sha256(content).hexdigest())
    assert not list((shelf.folder / "data/raw").iterdir())


@pytest.mark.skipif("DTI_ARCHIVES" not in os.environ, reason="needs amazon-2018 in the folder DTI_ARCHIVES")
@pytest.mark.parametrize(
    ("category", "interactions", "users", "label_rate", "repeated", "missing"),
    [("Magazine_Subscriptions", 2267, 348, 0.804588, 1065, 6), ("Gift_Cards", 2969, 458, 0.978107, 0, 0)],
)
def test_real_files(tmp_path, category, interactions, users, label_rate, repeated, missing):
    shelf = Path(os.environ["DTI_ARCHIVES"]) / "amazon-2018"
    names = (f"{category}_5.json.gz", f"meta_{category}.json.gz")
    report, interim = prepared(tmp_path, "amazon-2018-5core", {name: (shelf / name).read_bytes() for name in names})
    counts = {check["check"]: check["count"] for check in report["checks"]}
    assert (report["interactions"], report["users"], report["label_rate"]) == (interactions, users, label_rate)
    assert counts["metadata rows of an item that an earlier row has"] == repeated
    assert counts["items that interactions name and the items file lacks"] == missing
    items = pl.read_parquet(interim / "items.parquet")
    assert not items.select(pl.any_horizontal(pl.all().str.contains("<span|&amp;|</|getTime")).any()).item()
    assert "reviewerName" not in pl.read_parquet(interim / "interactions.parquet").columns
