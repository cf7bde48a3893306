"""The bundle: all that scoring needs of a trained adapter, in one folder that says what it holds.

It is made from a project's folder (or a workspace's), becomes the artifact of a model version, and is verified before
anything in it is used.
"""

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dti.errors import DtiError
from dti.files import atomic_folder, read_json, sha256_of, write_json
from dti.model.adapter import RECORD, Record, check_base, read_record, weights_of
from dti.params import Params
from dti.prompts.row import Ints
from dti.prompts.store import Meta, read_texts
from dti.prompts.tokenizer import found_ids, load_tokenizer, named_ids

FORMAT = 1
MANIFEST = "bundle.json"
ADAPTER = "adapter"
ITEMS = "items.arrow"
PICKLED = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")


@dataclass(frozen=True)
class Manifest:
    """The content of ``bundle.json``.

    Attributes:
        dataset, title: what the model was trained on.
        packed_digest: of the packed data that it was trained on.
        max_item_tokens: longer item and profile texts are cut to this many tokens.
        item, profile: the text templates; ``profile`` is None where the model reads no profiles.
        files: the SHA-256 of every other file, by its path in the bundle.
    """

    format: int
    dataset: str
    title: str
    packed_digest: str
    max_item_tokens: int
    item: str
    profile: str | None
    files: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
        record: what scoring must know about the adapter.
        tokenizer: the one that made the texts' tokens.
    """

    folder: Path
    manifest: Manifest
    record: Record
    tokenizer: Any

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Verify a bundle: every file and no other, safetensors alone, this tokenizer, this base model.

        Raises:
            DtiError: something is missing, was changed, or does not belong to it.
        """
        manifest = _manifest(folder)
        _check_files(folder, manifest)
        adapter = folder / ADAPTER
        record = read_record(adapter)
        _check_weights(weights_of(adapter, record))
        tokenizer = _tokenizer(adapter / "tokenizer", record)
        check_base(adapter, record)
        return cls(folder, manifest, record, tokenizer)

    @property
    def adapter(self) -> Path:
        """The adapter's folder."""
        return self.folder / ADAPTER

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds those of all other files."""
        return sha256_of(self.folder / MANIFEST)

    def items(self) -> tuple[pa.Array, NDArray[Any], Ints]:
        """Map the ids of the items, the tokens of their texts, and where each text starts."""
        return read_texts(self.folder, "item")


def write_bundle(root: Path, params: Params, folder: Path) -> None:
    """Make the bundle of the adapter that lies in the project's folder ``root``; it appears whole or not at all.

    Args:
        params: the parameters that the adapter was made with.

    Raises:
        DtiError: there is no adapter or no packed data, they do not belong together, or the disk is full.
    """
    adapter, packed = root / "models" / "adapter", root / "data" / "packed"
    record, meta = read_record(adapter), Meta.read(packed / "meta.json")
    _check_origin(adapter, record, packed, meta, params)
    with atomic_folder(folder) as partial:
        shutil.copytree(adapter, partial / ADAPTER)
        shutil.copyfile(packed / ITEMS, partial / ITEMS)
        manifest = Manifest(
            format=FORMAT,
            dataset=meta.dataset,
            title=meta.title,
            packed_digest=meta.digest,
            max_item_tokens=meta.max_item_tokens,
            item=params.template.item,
            profile=params.template.profile if record.profile else None,
            files={name: sha256_of(partial / name) for name in _names(partial)},
        )
        write_json(partial / MANIFEST, asdict(manifest))


def _check_origin(adapter: Path, record: Record, packed: Path, meta: Meta, params: Params) -> None:
    if record.packed_digest != meta.digest:
        raise DtiError(f"{adapter} was trained on other packed data than {packed}; run `dvc repro`")
    if sha256_of(adapter / "tokenizer" / "tokenizer.json") != sha256_of(packed / "tokenizer" / "tokenizer.json"):
        raise DtiError(f"{adapter} has another tokenizer than {packed}; run `dvc repro`")
    for name, made, given in (
        ("data.name", meta.dataset, params.data.name),
        ("pack.max_item_tokens", meta.max_item_tokens, params.pack.max_item_tokens),
        ("pack.profile", record.profile, params.pack.profile),
    ):
        if made != given:
            raise DtiError(f"{name}: {given!r}, but {adapter} was made with {made!r}; run `dvc repro`")


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise DtiError(f"{folder}: no model bundle: {MANIFEST} is missing")
    content = read_json(path)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise DtiError(f"{path}: format {found!r}, but this code reads {FORMAT}; make the bundle again")
    try:
        return Manifest(**content)
    except TypeError as error:
        raise DtiError(f"{path}: damaged ({error}); make the bundle again") from error


def _names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _check_files(folder: Path, manifest: Manifest) -> None:
    found = set(_names(folder)) - {MANIFEST}
    if missing := sorted(manifest.files.keys() - found):
        raise DtiError(f"{folder / missing[0]}: missing, although {MANIFEST} lists it; take the whole bundle again")
    if extra := sorted(found - manifest.files.keys()):
        raise DtiError(f"{folder / extra[0]}: not listed in {MANIFEST}; remove it, or take the whole bundle again")
    for name, expected in sorted(manifest.files.items()):
        if name.endswith(PICKLED):
            raise DtiError(f"{folder / name}: weights load from safetensors only; a pickle is never opened")
        if (given := sha256_of(folder / name)) != expected:
            raise DtiError(
                f"{folder / name}: changed since the bundle was made (SHA-256 {given[:12]}..., expected "
                f"{expected[:12]}...); take the whole bundle again"
            )


def _check_weights(file: Path) -> None:
    try:
        with safe_open(file, framework="numpy"):
            pass
    except SafetensorError as error:
        raise DtiError(f"{file}: no safetensors ({error}); weights load from safetensors only") from error


def _tokenizer(folder: Path, record: Record) -> Any:
    """The tokenizer, unless the record's tokens mean something else in it."""
    ratings = list(record.tokens.ratings)
    try:
        tokenizer = load_tokenizer(str(folder.resolve()), None)
        found = named_ids(tokenizer, ratings) if record.backbone == "tiny" else found_ids(tokenizer, ratings)
    except Exception as error:  # the tokenizers library raises nothing more particular
        raise DtiError(f"{folder}: no usable tokenizer ({error}); take the whole bundle again") from error
    if found != record.tokens:
        raise DtiError(
            f"{folder}: differs from the tokenizer that the adapter was trained with: {found}, but {RECORD} says "
            f"{record.tokens}"
        )
    return tokenizer


def fields_of(template: str) -> list[str]:
    """The fields that a template names."""
    return re.findall(r"\{(\w+)\}", template)
