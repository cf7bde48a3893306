"""The states of a store's whole catalogue, made once for a base model and kept in the project's home."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import transformers

from dti.files import digest_of, locked
from dti.home import ROOT, home
from dti.model.ctr import CtrModel
from dti.model.frozen import Layers, complete, fingerprint, read_states, write_states
from dti.progress import Progress
from dti.prompts.catalogue import Catalogue
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
    folder = home() / "catalogues" / key_of(model, store.catalogue, precision)
    with locked(folder.parent / ".lock", waiting="catalogue: another process makes one; waiting"):
        if not complete(folder, store.catalogue.size):
            parts = compute(model, store.catalogue, tokens_per_pass, precision)
            write_states(folder, parts, store.catalogue.size)
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
    """Names the states by all that decides them: base weights, texts, probe positions, precision, code."""
    base = ((n, p) for n, p in model.stock.named_parameters() if not any(part in n for part in ADAPTER))
    texts = (catalogue.tokens, catalogue.offset_X, catalogue.length_X, catalogue.start_X, catalogue.labels_A)
    config = {k: v for k, v in model.stock.config.to_dict().items() if not k.startswith("_")}
    parts = {
        "base": fingerprint(base),
        "texts": fingerprint((str(i), torch.from_numpy(x)) for i, x in enumerate(texts)),
        "config": config,
        "versions": [torch.__version__, transformers.__version__],
        "probe_position": model.sight.probe_position,
        "precision": precision,
        "code": digest_of(ROOT / "dti" / room for room in CODE),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def compute(model: CtrModel, catalogue: Catalogue, tokens_per_pass: int, precision: str) -> Iterator[Layers]:
    """Yield the states of consecutive parts of the catalogue, by the base model: the adapter is off."""
    was_training = model.training
    model.eval()
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")
    with torch.no_grad(), half, _base_alone(model), Progress("catalogue", catalogue.size, "tokens") as progress:
        for row in catalogue.rows(tokens_per_pass):
            yield model.content_states(row)
            progress.advance(row.tokens_S.size)
    model.train(was_training)


def _base_alone(model: CtrModel) -> AbstractContextManager[object]:
    return model.backbone.disable_adapter() if hasattr(model.backbone, "disable_adapter") else nullcontext()
