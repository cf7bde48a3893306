import re

import pytest

from dti.errors import DtiError


def refused(shop, *parts: str) -> None:
    """Preparing fails, the message holds every part, and nothing is left behind."""
    with pytest.raises(DtiError) as error:
        shop.prepare()
    for part in parts:
        assert part in str(error.value)
    assert sorted(path.name for path in shop.raw.parent.iterdir()) == ["raw"]


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("u1,i1,2,30", "label", "'2'"),
        ("u1,i1,yes,30", "label", "'yes'"),
        ("u1,i1,,30", "label", "empty"),
        ("u1,i1,1,tomorrow", "timestamp", "'tomorrow'"),
        ("u1,i1,1,-5", "timestamp", "'-5'"),
        (",i1,1,30", "user_id", "empty"),
        ("u1,,1,30", "item_id", "empty"),
        ("u1,i1,1", "timestamp", "empty"),
        ("u1,i1,1,30,x", "fields beyond the header", "'x'"),
        ("u1,i1,1,30,x,y", "fields beyond the header", "'x'"),
    ],
)
def test_bad_row_is_named(shop, row, column, value):
    shop.clicks("u1,i1,1,10", "u1,i2,0,20", row, "u1,i1,7,7,7")
    refused(shop, "clicks.csv, row 4", f"column {column}: {value}", "correct or remove the row")


def test_blank_lines_are_no_rows_but_are_counted(shop):
    shop.clicks("", "u1,i1,1,10", "", "u1,i1,3,20")
    refused(shop, "clicks.csv, row 5, column label: '3'")


def test_probability_out_of_range(shop):
    shop.write("clicks.csv", "user_id,item_id,label,timestamp,probability\nu1,i1,1,10,0.5\nu1,i1,1,20,1.5\n")
    refused(shop, "clicks.csv, row 3, column probability: '1.5'", "from 0 to 1")


def test_missing_columns(shop):
    shop.write("clicks.csv", "user_id,item_id,time\nu1,i1,10\n")
    refused(shop, "clicks.csv: no column label, timestamp", "the header has user_id, item_id, time")


def test_missing_file(shop):
    (shop.raw / "items.csv").unlink()
    refused(shop, "items.csv: not found", "fetch")


@pytest.mark.parametrize("name", ["clicks.csv", "items.csv"])
def test_not_utf8(shop, name):
    good = (shop.raw / name).read_bytes()
    shop.write(name, good + b"u\xe9,i1,1,5\n")
    refused(shop, f"{name}, row {good.count(10) + 1}, byte {len(good) + 1}: not UTF-8")


def test_file_cut_within_a_character(shop):
    good = (shop.raw / "items.csv").read_bytes()
    shop.write("items.csv", good + b"i3,caf\xc3")
    refused(shop, "items.csv, row 4", "ends within a UTF-8 character")


def test_utf8_check_across_chunks(shop, monkeypatch):
    monkeypatch.setattr("dti.data.delimited.CHUNK", 3)
    shop.write("items.csv", "item_id,title\ni1,ä€𝄞ä€𝄞\ni2,x\n")
    shop.prepare()
    good = "item_id,title\ni1,ä€𝄞ä€𝄞\ni2,".encode()
    shop.write("items.csv", good + b"\xf0\x9d\x84x\n")
    with pytest.raises(DtiError, match=re.escape(f"items.csv, row 3, byte {len(good)}: not UTF-8")):
        shop.prepare()


@pytest.mark.parametrize("content", ["", "user_id,item_id,label,timestamp\n"])
def test_empty_data_set(shop, content):
    shop.write("clicks.csv", content)
    refused(shop, "clicks.csv: the file", "get it anew")


def test_no_items(shop):
    shop.write("items.csv", "item_id,title\n")
    refused(shop, "items.csv: the file has no rows")


def test_only_unknown_items(shop):
    shop.clicks("u1,i8,1,10", "u1,i9,1,20")
    refused(shop, "clicks.csv: none of the 2 interactions")


def test_repeated_ids(shop):
    shop.write("items.csv", "item_id,title\ni1,pan\ni2,tent\ni1,pot\n")
    refused(shop, "items.csv, row 4, column item_id: 'i1'", "no earlier row has")


def test_only_users_with_one_interaction(shop):
    shop.clicks("u1,i1,1,10", "u2,i1,0,20")
    refused(shop, "only 0 of 2 interactions", "data.min_context")
