"""The states of a store's whole catalogue, made once for a base model and kept in the project's home."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import transformers

from dti.files import digest_of, locked
from dti.home import ROOT, home
from dti.model.ctr import CtrModel
from dti.model.device import arithmetic
from dti.model.frozen import Layers, complete, fingerprint, read_states, write_states
from dti.progress import Progress
from dti.prompts.catalogue import Catalogue
from dti.prompts.row import Row
from dti.prompts.store import Store

CODE = ("attention", "model", "prompts")
ADAPTER = ("lora_", "trainable_tokens")
KEPT = 3
"""Catalogues that stay on disk: gigabytes each."""


def give_states(model: CtrModel, store: Store, tokens_per_pass: int, precision: str) -> None:
    """Give a model of frozen content its catalogue's states, computed now where they are not kept; others need none.

    Args:
        tokens_per_pass: content tokens of one forward pass.
        precision: ``fp32`` or ``bf16``, of the arithmetic and of what is kept.

    Raises:
        DtiError: the disk is full.
    """
    if model.sight.content != "frozen":
        return
    keep_states(model, store.catalogue, tokens_per_pass, precision)


def keep_states(model: CtrModel, catalogue: Catalogue, tokens_per_pass: int, precision: str) -> None:
    """Give a model the states of a catalogue, computed now where they are not kept: by the base model where content is
    frozen, else by the trained one.

    Raises:
        DtiError: the disk is full.
    """
    folder = home() / "catalogues" / key_of(model, catalogue, precision)
    with locked(folder.parent / ".lock", waiting="catalogue: another process makes one; waiting"):
        if not complete(folder, catalogue.size):
            parts = compute(model, catalogue, tokens_per_pass, precision)
            write_states(folder, parts, catalogue.size)
        os.utime(folder)
        _prune(folder.parent)
        model.states = read_states(folder, model.device)
    shape = model.states.shape
    print(f"catalogue: {shape.tokens:,} tokens, {shape.bytes / 2**20:,.1f} MiB of keys and values in {folder}")


def _prune(folder: Path) -> None:
    """Keep the last used catalogues, and nothing that a killed process left; what is mapped elsewhere stays mapped."""
    used = sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
    for old in [*used[:-KEPT], *folder.glob(".*.partial")]:
        shutil.rmtree(old, ignore_errors=True)


def key_of(model: CtrModel, catalogue: Catalogue, precision: str) -> str:
    """Names the states by all that decides them: weights, texts, probe positions, precision, code."""
    frozen = model.sight.content == "frozen"
    left_out = ADAPTER if frozen else ()
    weights = ((n, p) for n, p in model.stock.named_parameters() if not any(part in n for part in left_out))
    adapters = {} if frozen else {k: v.to_dict() for k, v in getattr(model.backbone, "peft_config", {}).items()}
    texts = (catalogue.tokens, catalogue.offset_X, catalogue.length_X, catalogue.start_X, catalogue.labels_A)
    config = {k: v for k, v in model.stock.config.to_dict().items() if not k.startswith("_")}
    parts = {
        "weights": fingerprint(weights),
        "adapters": adapters,
        "content": model.sight.content,
        "texts": fingerprint((str(i), torch.from_numpy(x)) for i, x in enumerate(texts)),
        "config": config,
        "versions": [torch.__version__, transformers.__version__],
        "probe_position": model.sight.probe_position,
        "precision": precision,
        "code": digest_of(ROOT / "dti" / room for room in CODE),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:24]


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)


def compute(model: CtrModel, catalogue: Catalogue, tokens_per_pass: int, precision: str) -> Iterator[Layers]:
    """Yield the states of consecutive parts of the catalogue; with frozen content the adapter is off."""
    with Progress("catalogue", catalogue.size, "tokens") as progress:
        for layers in states_of(model, catalogue.rows(tokens_per_pass), precision):
            yield layers
            progress.advance(layers[0].k.shape[1])


def states_of(model: CtrModel, rows: Iterable[Row], precision: str) -> Iterator[Layers]:
    """Yield the states of each row of a catalogue."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), arithmetic(model.device, precision), _writer(model):
        for row in rows:
            yield model.content_states(row)
    model.train(was_training)


def _writer(model: CtrModel) -> AbstractContextManager[object]:
    off = model.sight.content == "frozen" and hasattr(model.backbone, "disable_adapter")
    return model.backbone.disable_adapter() if off else nullcontext()
