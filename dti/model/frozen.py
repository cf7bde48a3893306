"""Frozen content (``content: frozen``, ours): the catalogue's keys and values, computed once by the base model.

The adapter then acts on probes alone, so that an epoch costs one probe token per target. The states lie on disk and are
memory-mapped; they are a cache, made again when the base model, the texts or the code change.

Shape suffixes: G key/value heads, S content tokens of a row, C tokens of the catalogue, D size of a head.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dti.attention.visibility import Bank
from dti.files import atomic_folder, read_json, write_json

FILES = ("keys.bin", "values.bin")
Layers = list[Bank]
"""Keys and values of every layer."""


@dataclass(frozen=True)
class Shape:
    """What the two files hold: numbers of ``dtype``, (layers, tokens, heads, size)."""

    layers: int
    tokens: int
    heads: int
    size: int
    dtype: str

    @property
    def numbers(self) -> int:
        """How many numbers each file holds."""
        return self.layers * self.tokens * self.heads * self.size

    @property
    def bytes(self) -> int:
        """Bytes of both files."""
        return 2 * self.numbers * getattr(torch, self.dtype).itemsize


@dataclass(frozen=True)
class Slice:
    """The states of one row's content tokens; where ``place_S`` is None, those of the whole catalogue, not copied."""

    states: "States"
    place_S: Tensor | None

    def layer(self, number: int) -> Bank:
        """One layer's keys, as probes read them, and its values."""
        states, place_S = self.states, self.place_S
        rows = [x[number] for x in (states.keys, states.values)] if place_S is None else states.rows(number, place_S)
        keys, values = (x.view(-1, states.shape.heads, states.shape.size).transpose(0, 1) for x in rows)
        return Bank(keys, values)


@dataclass(frozen=True)
class States:
    """The keys, as probes read them, and the values of every token of a catalogue, both (layers, C, G D).

    ``later`` are the states of tokens that the catalogue got later; they stand behind all others, in memory.
    """

    shape: Shape
    keys: Tensor
    values: Tensor
    later: "States | None" = None

    def extended(self, layers: Layers) -> "States":
        """The states with those of more tokens behind them."""
        keys = torch.stack([bank.k.transpose(0, 1).flatten(1) for bank in layers])
        values = torch.stack([bank.v.transpose(0, 1).flatten(1) for bank in layers])
        if self.later is not None:
            keys, values = torch.cat([self.later.keys, keys], 1), torch.cat([self.later.values, values], 1)
        return replace(self, later=States(replace(self.shape, tokens=keys.shape[1]), keys, values))

    def rows(self, layer: int, place_S: Tensor) -> list[Tensor]:
        """Keys and values of one layer at the given places, each (S, G D)."""
        known = self.shape.tokens
        if self.later is None:
            return [x[layer].index_select(0, place_S) for x in (self.keys, self.values)]
        new_S = place_S >= known
        found = replace(self, later=None).rows(layer, place_S.clamp(max=known - 1))
        for rows, later in zip(found, self.later.rows(layer, place_S[new_S] - known), strict=True):
            rows[new_S] = later
        return found

    def of(self, place_S: Tensor) -> Slice:
        """The states at the given places of the catalogue."""
        return Slice(self, place_S.to(self.keys.device))

    def whole(self, dtype: torch.dtype) -> Slice | None:
        """All states as they lie, if they lie together and are of the type that is asked for; else None."""
        return Slice(self, None) if self.later is None and self.keys.dtype == dtype else None


def write_states(folder: Path, parts: Iterable[Layers], tokens: int) -> None:
    """Write states that come in consecutive parts of the catalogue; the folder appears whole or not at all.

    Args:
        parts: for each part, every layer's keys and values.
        tokens: C, tokens of all parts together.

    Raises:
        DtiError: the disk is full.
    """
    with atomic_folder(folder) as partial:
        with (partial / FILES[0]).open("wb") as keys, (partial / FILES[1]).open("wb") as values:
            done = 0
            for layers in parts:
                heads, count, size = layers[0].k.shape
                shape = Shape(len(layers), tokens, heads, size, str(layers[0].k.dtype).removeprefix("torch."))
                for number, bank in enumerate(layers):
                    for handle, x_GSD in ((keys, bank.k), (values, bank.v)):
                        handle.seek((number * tokens + done) * heads * size * x_GSD.element_size())
                        handle.write(_bytes(x_GSD.transpose(0, 1)))
                done += count
        write_json(partial / "shape.json", asdict(shape))


def _bytes(x: Tensor) -> bytes:
    return x.contiguous().cpu().view(torch.uint8).numpy().tobytes()


def read_states(folder: Path, device: torch.device) -> States:
    """Map the states of ``folder``; on a GPU they are copied to it.

    Raises:
        DtiError: there are none.
    """
    shape = Shape(**read_json(folder / "shape.json"))
    keys, values = (_mapped(folder / name, shape).to(device) for name in FILES)
    return States(shape, keys, values)


def complete(folder: Path, tokens: int) -> bool:
    """Whether ``folder`` holds the states of a catalogue of so many tokens, whole."""
    if not (folder / "shape.json").is_file():
        return False
    shape = Shape(**read_json(folder / "shape.json"))
    sizes = [path.stat().st_size for name in FILES if (path := folder / name).is_file()]
    return shape.tokens == tokens and sizes == [shape.bytes // 2] * 2


def _mapped(path: Path, shape: Shape) -> Tensor:
    flat = torch.from_file(str(path), shared=False, size=shape.numbers, dtype=getattr(torch, shape.dtype))
    return flat.view(shape.layers, shape.tokens, shape.heads * shape.size)


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of named tensors, names and bytes."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return total.hexdigest()
