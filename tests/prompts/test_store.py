"""The packed store: mapped without copies, and damage is named."""

import json
import shutil

import pytest

from dti.errors import DtiError
from dti.prompts.packing import training_prompts
from dti.prompts.store import FORMAT, Store


@pytest.fixture(scope="module")
def packed(make_store):
    return make_store([[(0, 1), (1, 0)], [(1, 1)]], ["Heat", "Casino"])


@pytest.fixture
def folder(packed, tmp_path):
    return shutil.copytree(packed.folder, tmp_path / "packed")


def test_columns_are_mapped_not_copied(packed):
    arrays = [*(v for v in vars(packed.shards[0]).values() if v is not None), packed.item_tokens]
    assert all(not array.flags.owndata and not array.flags.writeable for array in arrays)
    assert [array.dtype.name for array in arrays[:4]] == ["int32", "int32", "int8", "int32"]
    assert [array.dtype.name for array in arrays[4:]] == ["int64", "int32", "int8", "int32"]


def test_a_round_trip_keeps_ids_and_texts(packed):
    assert packed.item_ids.to_pylist() == ["i0", "i1"]
    assert packed.user_ids.to_pylist() == ["u0000", "u0001"]
    assert packed.item_offsets[0] == 0
    assert packed.item_offsets[-1] == len(packed.item_tokens)
    assert packed.text_lengths.sum() == len(packed.item_tokens)


@pytest.mark.parametrize("name", ["meta.json", "items.arrow", "users.arrow", "prompts.arrow", "shards/00000.arrow"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_cut_file_is_named(folder, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DtiError, match=name):
        training_prompts(Store.open(folder))


@pytest.mark.parametrize("name", ["meta.json", "items.arrow", "users.arrow", "prompts.arrow"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DtiError, match=f"{name}: not found"):
        training_prompts(Store.open(folder))


def test_a_missing_shard_is_noticed(folder):
    (folder / "shards" / "00000.arrow").unlink()
    with pytest.raises(DtiError, match=r"\(0, 2, 2\) interactions, items and users where meta.json counts \(3, 2, 2\)"):
        Store.open(folder)


def test_a_file_of_another_kind_is_named(folder):
    shutil.copy(folder / "users.arrow", folder / "items.arrow")
    with pytest.raises(DtiError, match=r"items.arrow: no column 'item_id' of type string"):
        Store.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}, this code reads {FORMAT}; pack again"),
        ({"tokens": {}}, "damaged"),
        ({"unknown": 1}, "damaged"),
    ],
)
def test_another_meta_is_refused(folder, change, message):
    content = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(content | change))
    with pytest.raises(DtiError, match=message):
        Store.open(folder)
