"""A bundle is whole and untouched, or it is refused."""

import pickle
import shutil

import pytest
import torch

from dti.errors import DtiError
from dti.files import read_json, sha256_of, write_json
from dti.prompts.tokenizer import train_tiny
from dti.serving.bundle import MANIFEST, Bundle, write_bundle
from dti.serving.scorer import Scorer


def relist(folder, name):
    """Make the manifest agree with a changed file, as somebody with bad intentions would."""
    manifest = read_json(folder / MANIFEST)
    manifest["files"][name] = sha256_of(folder / name)
    write_json(folder / MANIFEST, manifest)


def test_a_bundle_lists_every_file_and_is_moved_as_a_whole(project, tmp_path):
    folder = project(profile=True).write()
    manifest = read_json(folder / MANIFEST)
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == files - {MANIFEST}
    assert {"adapter/dti.json", "adapter/model.safetensors", "adapter/tokenizer/tokenizer.json", "items.arrow"} < files
    assert manifest["profile"] == "{age}, {town}"
    digest = Bundle.open(folder).digest
    shutil.move(folder, tmp_path / "elsewhere")
    assert Bundle.open(tmp_path / "elsewhere").digest == digest


@pytest.mark.parametrize("name", ["adapter/model.safetensors", "adapter/dti.json", "items.arrow"])
def test_a_changed_file_is_refused(project, name):
    folder = project().write()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DtiError, match=f"{name}: changed since the bundle was made"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["adapter/model.safetensors", "adapter/tokenizer/tokenizer.json", "items.arrow"])
def test_a_missing_file_is_refused(project, name):
    folder = project().write()
    (folder / name).unlink()
    with pytest.raises(DtiError, match=f"{name}: missing"):
        Bundle.open(folder)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("listed", [False, True])
def test_a_pickle_is_never_opened(project, listed):
    folder = project().write()
    weights = folder / "adapter" / "model.safetensors"
    weights.write_bytes(pickle.dumps(Bomb()))
    if listed:
        relist(folder, "adapter/model.safetensors")
    with pytest.raises(DtiError, match="no safetensors" if listed else "changed since"):
        Scorer.open(folder, "cpu")


@pytest.mark.parametrize("listed", [False, True])
def test_a_pickle_beside_the_weights_is_refused(project, listed):
    folder = project().write()
    torch.save({}, folder / "adapter" / "pytorch_model.bin")
    if listed:
        relist(folder, "adapter/pytorch_model.bin")
    with pytest.raises(DtiError, match="a pickle is never opened" if listed else "not listed"):
        Bundle.open(folder)


def test_another_base_model_is_refused(project, tmp_path):
    made = project(tuning="lora")
    folder = made.write()
    Bundle.open(folder)
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    with pytest.raises(DtiError, match="trained on another model"):
        Bundle.open(folder)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(DtiError, match="put the model back"):
        Bundle.open(folder)


def other_words(folder):
    tokenizer = train_tiny(["entirely other words, Yes or No"] * 3, 300, [])
    tokenizer.add_tokens(["No", "Yes"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved_special_token_0|>"]})
    tokenizer.save_pretrained(folder)


def other_name(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("[YES]", "[SURE]"))


def no_json(folder):
    (folder / "tokenizer.json").write_text("{")


@pytest.mark.parametrize(("tuning", "change"), [("full", other_name), ("lora", other_words), ("full", no_json)])
def test_a_tokenizer_that_differs_is_refused(project, tuning, change):
    folder = project(tuning=tuning).write()
    change(folder / "adapter" / "tokenizer")
    with pytest.raises(DtiError, match="tokenizer.*: changed since"):
        Bundle.open(folder)
    for path in (folder / "adapter" / "tokenizer").iterdir():
        relist(folder, path.relative_to(folder).as_posix())
    with pytest.raises(DtiError, match="tokenizer: (differs from|no usable)"):
        Bundle.open(folder)


def test_other_packed_data_or_parameters_are_refused(project, tmp_path):
    made = project()
    meta = made.root / "data" / "packed" / "meta.json"
    pack = made.params.pack.model_copy(update={"max_item_tokens": 9})
    with pytest.raises(DtiError, match=r"pack.max_item_tokens: 9, but .* was made with 64"):
        write_bundle(made.root, made.params.model_copy(update={"pack": pack}), tmp_path / "bundle")
    write_json(meta, read_json(meta) | {"digest": "other"})
    with pytest.raises(DtiError, match="trained on other packed data"):
        made.write()
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_bundle_is_named(tmp_path):
    with pytest.raises(DtiError, match=f"no model bundle: {MANIFEST} is missing"):
        Bundle.open(tmp_path)
    write_json(tmp_path / MANIFEST, {"format": 99})
    with pytest.raises(DtiError, match="format 99, but this code reads 1"):
        Bundle.open(tmp_path)
