"""The packed store: every interaction once, as flat memory-mapped arrays; prompts are ranges over it.

Shape suffixes: R rows of a shard, T tokens, N items, U users, M interactions of a row.
"""

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dti.errors import DtiError
from dti.files import read_json
from dti.prompts.catalogue import Catalogue
from dti.prompts.row import Ints

FORMAT = 1
SPLITS = ("context", "train", "valid", "test")
Split = Literal["context", "train", "valid", "test"]
Targets = int | Literal["all"]
"""k: targets per prompt."""

SHARD_SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("item", pa.int32()),
        ("label", pa.int8()),
        ("context_label", pa.int32()),
        ("timestamp", pa.int64()),
        ("order", pa.int32()),
        ("split", pa.int8()),
    ]
)
PROBABILITY = pa.field("probability", pa.float32())


@dataclass(frozen=True)
class TokenIds:
    """The ids of the tokens with a meaning of their own.

    Attributes:
        no, yes: the two label tokens; the head's two rows.
        sum: the probe.
        pad: padding, where a caller needs some; packed rows have none.
        empty: stands for an item without any text.
        ratings: one token per rating value, as text (``"4"``); empty where ratings have no tokens.
    """

    no: int
    yes: int
    sum: int
    pad: int
    empty: int
    ratings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """What the store holds; ``train``, ``valid`` and ``test`` count targets."""

    users: int
    items: int
    interactions: int
    positives: int
    context: int
    train: int
    valid: int
    test: int
    prompts: int


@dataclass(frozen=True)
class Meta:
    """The content of ``meta.json``."""

    format: int
    dataset: str
    title: str
    sha256: str
    official: bool
    n: int
    k: Targets
    context_labels: Literal["binary", "rating"]
    profile: bool
    backbone: str
    revision: str | None
    max_item_tokens: int
    vocabulary: int
    tokens: TokenIds
    counts: Counts
    digest: str = ""
    instruction: str | None = None

    @property
    def prefixed(self) -> bool:
        """Whether prompts may begin with a prefix: an instruction, a profile, or both."""
        return self.profile or self.instruction is not None

    @property
    def paradigm(self) -> Literal["sliding", "stream"]:
        """Sliding window (k = 1) or streaming prompts."""
        return "sliding" if self.k == 1 else "stream"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``meta.json``.

        Raises:
            DtiError: missing, no JSON, of another format version, or with other keys.
        """
        content = read_json(path)
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise DtiError(f"{path}: format {found}, this code reads {FORMAT}; pack again with `dvc repro pack`")
        try:
            content["tokens"], content["counts"] = TokenIds(**content["tokens"]), Counts(**content["counts"])
            return cls(**content)
        except (TypeError, KeyError) as error:
            raise DtiError(f"{path}: damaged ({error}); pack again with `dvc repro pack`") from error


@dataclass(frozen=True)
class Shard:
    """Whole users, each user's interactions in time order.

    Attributes:
        user, item: int32 indices into the store's users and items.
        label: int8, 0 or 1.
        context_label: int32, the token that shows this interaction's label to later targets.
        timestamp: int64, seconds since 1970.
        order: int32, the 0-based place in the user's history.
        split: int8, an index into ``SPLITS``.
        probability: float32, the true click probability where the source knows it.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    label: NDArray[np.int8]
    context_label: NDArray[np.int32]
    timestamp: Ints
    order: NDArray[np.int32]
    split: NDArray[np.int8]
    probability: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def strict(self, rows: Ints) -> NDArray[np.bool_]:
        """Whether the interactions at ``rows`` are strictly later than the one before them in their user's history."""
        before = self.timestamp[np.maximum(rows - 1, 0)]
        return (self.order[rows] > 0) & (before < self.timestamp[rows])

    @classmethod
    def read(cls, path: Path) -> Self:
        """Map a shard file.

        Raises:
            DtiError: missing, damaged, or without a column.
        """
        batch = read_batch(path, SHARD_SCHEMA)
        names = [f.name for f in fields(cls) if f.name in batch.schema.names]
        return cls(**{name: batch[name].to_numpy(zero_copy_only=True) for name in names})


@dataclass(frozen=True)
class Store:
    """Everything packed, memory-mapped.

    Attributes:
        folder: where the files lie.
        meta: what they hold.
        shards: the interactions.
        item_ids, user_ids: string arrays; row number = index.
        item_tokens, profile_tokens: int32, the texts' tokens, one text after another.
        item_offsets, profile_offsets: N + 1 and U + 1 places; text i is ``tokens[offsets[i] : offsets[i + 1]]``.
    """

    folder: Path
    meta: Meta
    shards: list[Shard]
    item_ids: pa.Array
    item_tokens: NDArray[np.int32]
    item_offsets: Ints
    user_ids: pa.Array
    profile_tokens: NDArray[np.int32]
    profile_offsets: Ints

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the packed data in ``folder``.

        Raises:
            DtiError: a file is missing or damaged, of another format version, or does not agree with ``meta.json``.
        """
        store = cls.map(folder, Meta.read(folder / "meta.json"))
        counts = store.meta.counts
        found = (sum(map(len, store.shards)), len(store.item_ids), len(store.user_ids))
        if found != (expected := (counts.interactions, counts.items, counts.users)):
            raise DtiError(
                f"{folder}: damaged: {found} interactions, items and users where meta.json counts {expected}; "
                "pack again with `dvc repro pack`"
            )
        return store

    @classmethod
    def map(cls, folder: Path, meta: Meta) -> Self:
        """Map the arrays of ``folder`` under a given ``meta``, whose counts are not looked at."""
        shards = [Shard.read(path) for path in sorted((folder / "shards").glob("*.arrow"))]
        return cls(folder, meta, shards, *read_texts(folder, "item"), *read_texts(folder, "user"))

    @cached_property
    def text_lengths(self) -> Ints:
        """Tokens of each item's text."""
        return np.diff(self.item_offsets)

    @cached_property
    def profile_lengths(self) -> Ints:
        """Tokens of each user's profile: 0 where it is empty or profiles are off."""
        return np.diff(self.profile_offsets)

    @cached_property
    def catalogue(self) -> Catalogue:
        """All texts with all label tokens that targets may read behind them."""
        ids = self.meta.tokens
        labels = [ids.no, ids.yes] if self.meta.context_labels == "binary" else list(ids.ratings.values())
        return Catalogue.of(
            self.item_tokens,
            self.item_offsets,
            self.profile_tokens,
            self.profile_offsets,
            np.array(labels, np.int64),
        )

    @cached_property
    def content_before(self) -> list[Ints]:
        """Per shard R + 1 sums: content tokens (texts and labels) of the rows before each row."""
        return [np.cumsum(np.append(0, self.text_lengths[shard.item] + 1)) for shard in self.shards]


def read_batch(path: Path, schema: pa.Schema) -> pa.RecordBatch:
    """Map the one record batch of an Arrow IPC file.

    Raises:
        DtiError: missing, damaged, or a column of ``schema`` is missing or of another type.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; pack again with `dvc repro pack`") from None
    except (pa.ArrowException, OSError, IndexError) as error:
        raise DtiError(f"{path}: damaged ({error}); remove it and pack again with `dvc repro pack`") from error
    for column in schema:
        if column.name not in batch.schema.names or batch.schema.field(column.name).type != column.type:
            raise DtiError(f"{path}: no column {column.name!r} of type {column.type}; pack again with `dvc repro pack`")
    return batch


def write_batch(path: Path, columns: dict[str, Any], schema: pa.Schema) -> None:
    """Write an uncompressed Arrow IPC file of one record batch, so that its columns map without a copy."""
    batch = pa.record_batch([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def texts_schema(kind: Literal["item", "user"]) -> pa.Schema:
    """The columns of ``items.arrow`` and ``users.arrow``."""
    return pa.schema([(f"{kind}_id", pa.string()), ("tokens", pa.list_(pa.int32()))])


def read_texts(folder: Path, kind: Literal["item", "user"]) -> tuple[pa.Array, NDArray[np.int32], Ints]:
    """Map ids, flat tokens and offsets of ``items.arrow`` or ``users.arrow``."""
    batch = read_batch(folder / f"{kind}s.arrow", texts_schema(kind))
    tokens: pa.ListArray = batch["tokens"]
    offsets = tokens.offsets.to_numpy().astype(np.int64)
    return batch[f"{kind}_id"], tokens.values.to_numpy(zero_copy_only=True), offsets
