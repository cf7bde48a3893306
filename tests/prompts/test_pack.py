"""The pack stage as a whole: nothing lost, the same bytes twice, bad input named."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dti.errors import DtiError
from dti.files import digest_of
from dti.prompts.build import build_row, content_tokens
from dti.prompts.pack import pack
from dti.prompts.packing import serving_prompts, stream_prompts, training_prompts
from dti.prompts.report import verify
from dti.prompts.store import SPLITS, Store
from dti.prompts.tokenizer import load_tokenizer
from dti.prompts.unique import build_unique
from dti.stages.pack import main

ITEMS = [{"title": title} for title in ("Heat", "Casino", "Toy Story", "Alien")]
HISTORIES = [[(0, 1), (1, 0), (2, 1), (3, 1), (0, 0)], [(3, 0)], [(2, 1), (1, 1), (0, 0)]]
PLACES = [["context", "train", "train", "valid", "test"], ["context"], ["train", "train", "test"]]


@pytest.fixture
def source(interim, tmp_path):
    return interim(tmp_path / "interim", HISTORIES, ITEMS, PLACES)


def edit(source, name, change):
    """Rewrite a parquet file of the interim folder with ``change(table)``."""
    pq.write_table(change(pq.read_table(source / name)), source / name)


def replaced(name, row, value):
    """A change that sets one value of a column."""

    def change(table):
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))

    return change


@pytest.mark.parametrize("shard_interactions", [1, 3, 5, 1000])
def test_every_interaction_is_packed_once(source, params_for, tmp_path, shard_interactions):
    pack(params_for(n=2, k=1, shard_interactions=shard_interactions), source, tmp_path / "packed")
    store = Store.open(tmp_path / "packed")
    rows = [
        (store.user_ids[u].as_py(), store.item_ids[i].as_py(), y, t, o, SPLITS[s])
        for shard in store.shards
        for u, i, y, t, o, s in zip(
            shard.user, shard.item, shard.label, shard.timestamp, shard.order, shard.split, strict=True
        )
    ]
    table = pq.read_table(source / "interactions.parquet")
    names = ("user_id", "item_id", "label", "timestamp", "order", "split")
    assert rows == list(zip(*(table[name].to_pylist() for name in names), strict=True))
    assert len(store.shards) == {1: 3, 3: 2, 5: 2, 1000: 1}[shard_interactions]


def test_batches_of_one_row_give_the_same_bytes(source, params_for, tmp_path, monkeypatch):
    pack(params_for(shard_interactions=4), source, tmp_path / "whole")
    monkeypatch.setattr("dti.prompts.interim._BATCH", 1)
    pack(params_for(shard_interactions=4), source, tmp_path / "pieces")
    assert digest_of([tmp_path / "whole"]) == digest_of([tmp_path / "pieces"])


def test_packing_twice_gives_the_same_bytes(source, params_for, tmp_path):
    reports = [pack(params_for(), source, tmp_path / name) for name in ("one", "two")]
    assert digest_of([tmp_path / "one"]) == digest_of([tmp_path / "two"])
    assert reports[0] == reports[1]


def test_the_digest_is_that_of_all_other_files(source, params_for, tmp_path):
    pack(params_for(), source, tmp_path / "packed")
    meta = Store.open(tmp_path / "packed").meta
    (tmp_path / "packed" / "meta.json").unlink()
    assert meta.digest == digest_of([tmp_path / "packed"])


def test_the_report_counts_what_is_there(source, params_for, tmp_path):
    report = pack(params_for(n=2, k=2), source, tmp_path / "packed")
    store = Store.open(tmp_path / "packed")
    prompts = training_prompts(store)
    assert (report["users"], report["items"], report["interactions"], report["prompts"]) == (3, 4, 9, 2)
    assert report["targets"] == {"train": 4, "valid": 1, "test": 2}
    assert report["context_only"] == 2
    content, sliding = (int(content_tokens(store, p).sum()) for p in (prompts, serving_prompts(store, "train")))
    assert report["content_tokens"] == content
    assert report["tokens_per_target"] == round(content / 4 + 1, 3)
    assert report["sliding_tokens_per_target"] == round(sliding / 4 + 1, 3)
    assert report["cut_texts"] == report["empty_texts"] == {"items": 0, "profiles": 0}
    assert json.loads(json.dumps(report)) == report


def test_an_item_of_10_000_words_and_one_without_text_are_counted(interim, params_for, tmp_path):
    items = [{"title": "word " * 10_000}, {"title": None}, {"title": "Heat"}]
    source = interim(tmp_path / "interim", [[(0, 1), (1, 0), (2, 1)]], items)
    report = pack(params_for(max_item_tokens=8), source, tmp_path / "packed")
    store = Store.open(tmp_path / "packed")
    assert (report["cut_texts"]["items"], report["empty_texts"]["items"]) == (1, 1)
    assert store.text_lengths.tolist()[:2] == [8, 1]
    assert store.item_tokens[8] == store.meta.tokens.empty


def test_the_tokenizer_learns_from_the_training_split_alone(interim, params_for, tmp_path):
    def vocabulary(unseen):
        items = [{"title": "Heat"}, {"title": unseen}]
        source = interim(tmp_path / "interim", [[(0, 1), (0, 1), (1, 1)]], items, [["context", "train", "test"]])
        pack(params_for(vocabulary=400), source, tmp_path / "packed")
        return (tmp_path / "packed" / "tokenizer" / "tokenizer.json").read_bytes()

    assert vocabulary("Casino Royale") == vocabulary("Something Else")


def test_profiles_are_packed_in_the_order_of_the_users(make_store):
    store = make_store(HISTORIES, ["a", "b", "c", "d"], profiles=["young", "", "old"], k="all")
    assert (store.profile_lengths > 0).tolist() == [True, False, True]
    assert (make_store(HISTORIES, ["a", "b", "c", "d"], k="all").profile_lengths == 0).all()


def test_the_true_probability_is_kept_where_there_is_one(source, params_for, tmp_path):
    chances = pa.array(np.linspace(0, 1, 9), pa.float32())
    edit(source, "interactions.parquet", lambda table: table.append_column("probability", chances))
    pack(params_for(), source, tmp_path / "packed")
    assert Store.open(tmp_path / "packed").shards[0].probability.tolist() == chances.to_pylist()


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_text_columns_may_be_of_any_string_type(source, params_for, tmp_path, kind):
    def change(table):
        fields = [field.with_type(kind) if field.type == pa.string() else field for field in table.schema]
        return table.cast(pa.schema(fields))

    pack(params_for(), source, tmp_path / "one")
    edit(source, "interactions.parquet", change)
    edit(source, "items.parquet", change)
    pack(params_for(), source, tmp_path / "two")
    assert digest_of([tmp_path / "one"]) == digest_of([tmp_path / "two"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("interactions.parquet", replaced("item_id", 3, "i9"), "row 3 (counted from 0): item_id 'i9' is not in items"),
        ("interactions.parquet", replaced("item_id", 3, None), "row 3 (counted from 0): column item_id is empty"),
        ("interactions.parquet", replaced("label", 8, 2), "row 8 (counted from 0): label 2 is neither 0 nor 1"),
        ("interactions.parquet", replaced("split", 0, "dev"), "row 0 (counted from 0): split 'dev' is none of"),
        ("interactions.parquet", replaced("order", 2, 7), "row 2 (counted from 0): order is 7, expected 2"),
        ("interactions.parquet", replaced("split", 3, "context"), "row 3 (counted from 0): split is earlier"),
        ("interactions.parquet", replaced("user_id", 7, "u0000"), "the rows of user_id 'u0000' are not consecutive"),
        ("interactions.parquet", lambda table: table.drop_columns("label"), "no column 'label'; it has user_id,"),
        ("interactions.parquet", lambda table: table.slice(0, 0), "no interactions; is the source empty?"),
        ("interactions.parquet", lambda table: table.slice(0, 1), "no row of split train"),
        ("items.parquet", replaced("item_id", 1, "i0"), "item_id 'i0' occurs twice"),
        ("items.parquet", replaced("item_id", 1, None), "row 1 (counted from 0): column item_id is empty"),
        ("items.parquet", lambda table: table.drop_columns("title"), "no field 'title'; there are item_id"),
        ("items.parquet", lambda table: table.drop_columns("item_id"), "no column 'item_id'; it has title"),
    ],
)
def test_bad_input_is_named_and_nothing_is_left_behind(source, params_for, tmp_path, name, change, message):
    edit(source, name, change)
    with pytest.raises(DtiError) as error:
        pack(params_for(), source, tmp_path / "packed")
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["interim"]


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet", "source.json"])
def test_a_missing_or_damaged_interim_file_is_named(source, params_for, tmp_path, name):
    content = (source / name).read_bytes()
    (source / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DtiError, match=name):
        pack(params_for(), source, tmp_path / "packed")
    (source / name).unlink()
    with pytest.raises(DtiError, match=f"{name}: not found"):
        pack(params_for(), source, tmp_path / "packed")


def test_rating_labels_need_ratings(source, params_for, tmp_path):
    with pytest.raises(DtiError, match=r"pack\.context_labels: rating needs a rating column"):
        pack(params_for(context_labels="rating"), source, tmp_path / "packed")


def test_too_many_ratings_are_no_scale(interim, params_for, tmp_path):
    ratings = [[float(x) for x in range(30)]]
    source = interim(tmp_path / "interim", [[(0, 1)] * 30], ITEMS, ratings=ratings)
    with pytest.raises(DtiError, match="rating has 30 distinct values"):
        pack(params_for(), source, tmp_path / "packed")


def test_profiles_need_users(source, interim, params_for, tmp_path):
    with pytest.raises(DtiError, match=r"users.parquet: not found, this source has no profiles"):
        pack(params_for(profile=True), source, tmp_path / "packed")
    interim(source, HISTORIES, ITEMS, PLACES, users=[{"profile": "young"}])
    with pytest.raises(DtiError, match=r"users.parquet: no row for user_id 'u0001'"):
        pack(params_for(profile=True), source, tmp_path / "packed")


def test_verify_finds_lost_and_doubled_targets(make_store):
    store = make_store(HISTORIES, ["a", "b", "c", "d"], splits=PLACES, k=1)
    prompts = stream_prompts(store, "train", 1)
    verify(store, prompts)
    with pytest.raises(DtiError, match="3 prompts packed, 4 in"):
        verify(store, prompts.take(slice(1, None)))
    with pytest.raises(DtiError, match="a training target is not in exactly one prompt"):
        verify(store, prompts.take(np.array([0, 1, 1, 3])))


def test_meta_says_what_was_packed(make_store):
    meta = make_store(HISTORIES, ["a", "b", "c", "d"], splits=PLACES, n=3, k=5).meta
    assert (meta.n, meta.k, meta.paradigm, meta.context_labels, meta.profile) == (3, 5, "stream", "binary", False)
    assert asdict(meta.counts) == {
        "users": 3,
        "items": 4,
        "interactions": 9,
        "positives": 5,
        "context": 2,
        "train": 4,
        "valid": 1,
        "test": 2,
        "prompts": 2,
    }


def test_the_stage_writes_the_packed_data_and_the_report(interim, tmp_path, monkeypatch):
    items = [{"title": item["title"], "brand": "Warner", "genres": None} for item in ITEMS]
    interim(tmp_path / "data" / "interim", HISTORIES, items, PLACES)
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    main()
    report = json.loads(Path("reports/pack.json").read_text())
    assert report["digest"] == Store.open(Path("data/packed")).meta.digest


def test_the_stage_needs_no_library_of_the_pipeline():
    code = "import sys, dti.stages.pack; assert not {'polars', 'dvc', 'mlflow', 'prefect'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["8k", "20k", "28k"])
def test_a_full_disk_is_named_and_nothing_is_left_behind(source, params_for, tmp_path, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(DtiError, match="the disk is full; nothing was left half-written"):
            pack(params_for(), source, disk / "packed")
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("profiles", [None, ["young", "", "old"]])
def test_an_instruction_stands_before_the_profile(make_store, profiles):
    store = make_store(HISTORIES, ["a", "b", "c", "d"], profiles=profiles, instruction="Will they click?", k="all")
    tokenizer = load_tokenizer(str(store.folder / "tokenizer"), None)
    prompts = stream_prompts(store, "train", "all")
    for row in (build_row(store, prompts), build_unique(store, prompts)):
        bounds = zip(row.prefix_start_P, row.prefix_stop_P, strict=True)
        found = [tokenizer.decode(row.tokens_S[low:high]).strip() for low, high in bounds]
        users = store.shards[0].user[prompts.target_start]
        expected = [f"Will they click? {(profiles or [''] * 3)[u]}".strip() for u in users]
        assert found == expected
    assert store.meta.instruction == "Will they click?"
    assert len(set(store.catalogue.profile_U.tolist())) == (3 if profiles else 1)


def test_an_instruction_that_leaves_no_room_is_refused(make_store):
    with pytest.raises(DtiError, match="pack.instruction: [0-9]+ tokens, but pack.max_item_tokens cuts prefixes at 4"):
        make_store(HISTORIES, ["a", "b", "c", "d"], instruction="Will they ever click on this?", max_item_tokens=4)


def texts_of(store):
    return [store.item_tokens[start:stop].tolist() for start, stop in pairwise(store.item_offsets)]


def packed_in(params, source, folder):
    pack(params, source, folder)
    return Store.open(folder)


def test_items_that_training_saw_have_a_token_of_their_own_before_their_text(interim, params_for, tmp_path):
    items = [{"title": title} for title in ("Heat", "Heat", "[ITEM demo i0] Heat", None, "Ran")]
    history = [(0, 1), (1, 0), (2, 1), (3, 0), (4, 1)]
    source = interim(tmp_path / "interim", [history], items, [["train"] * 4 + ["test"]])
    plain, own = (packed_in(params_for(item_tokens=on), source, tmp_path / str(on)) for on in (False, True))
    first, texts = plain.meta.vocabulary, texts_of(plain)
    assert texts_of(own) == [[first + i, *texts[i]] for i in range(4)] + [texts[4]]
    assert own.meta.vocabulary == first + 4
    assert [pack(params_for(item_tokens=on), source, tmp_path / "report")["item_tokens"] for on in (False, True)] == [
        0,
        4,
    ]
    assert texts[0] == texts[1]
    assert texts[3] == [plain.meta.tokens.empty]
    tokenizer = load_tokenizer(str(own.folder / "tokenizer"), None)
    assert tokenizer.convert_ids_to_tokens(range(first, first + 4)) == [f"[ITEM demo i{i}]" for i in range(4)]


@pytest.mark.parametrize("own", [True, False])
def test_an_adapter_is_continued_with_the_tokens_of_the_items_that_it_knows(interim, params_for, tmp_path, own):
    items = [{"title": "Heat"}, {"title": "Ran"}, {"title": "Heat"}]
    before = interim(tmp_path / "interim", [[(0, 1), (1, 0)]], items[:2])
    start = packed_in(params_for(item_tokens=own), before, tmp_path / "before")
    later = interim(tmp_path / "later", [[(0, 1), (2, 0), (1, 1)]], items)

    def params(own):
        made = params_for(item_tokens=own)
        return made.model_copy(update={"train": made.train.model_copy(update={"init_from": str(start.folder)})})

    texts = texts_of(packed_in(params(own), later, tmp_path / "continued"))
    assert texts[:2] == texts_of(start)
    assert texts[2] == texts[0][own:]
    with pytest.raises(DtiError, match=f"of these items; set pack.item_tokens {str(own).lower()}"):
        pack(params(not own), later, tmp_path / "other")
