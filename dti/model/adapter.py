"""What training leaves behind: a folder with weights (safetensors only), the tokenizer, and how to read with them."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from dti.attention.forgetting import Forgetting
from dti.attention.plugin import Choice, backend_of
from dti.attention.visibility import Sight
from dti.errors import DtiError
from dti.files import atomic_folder, read_json, sha256_of
from dti.model.backbone import Quantisation, digest, pretrained
from dti.model.ctr import CtrModel
from dti.prompts.gguf_file import FULL
from dti.prompts.row import Layout
from dti.prompts.store import TokenIds

RECORD = "dti.json"
SLOPES = "slopes.safetensors"
FORMAT = 1
COMPARED = (
    "backbone",
    "backbone_weights",
    "base_digest",
    "quantisation",
    "revision",
    "tuning",
    "shape",
    "sight",
    "tokens",
    "context_labels",
    "profile",
    "instruction",
)
"""What must agree for an adapter to be continued."""


@dataclass(frozen=True)
class Record:
    """What scoring must know about an adapter, and what it was made of.

    Attributes:
        shape: the parameters of ``model.tiny`` or ``model.lora``, whichever made it; empty for other full training.
        base_digest: of a local backbone's files; None for ``tiny`` and for a hub id.
        quantisation: the bits that the base's matrices were held in, and are in scoring.
        backbone_weights: what the backbone's weights were before training; records without it are of float32 ones.
    """

    format: int
    backbone: str
    revision: str | None
    tuning: Literal["full", "lora"]
    shape: dict[str, Any]
    sight: Sight
    tokens: TokenIds
    context_labels: str
    profile: bool
    k: int | str
    seed: int
    dataset: str
    packed_digest: str
    backbone_weights: str = FULL
    instruction: str | None = None
    base_digest: str | None = None
    quantisation: Quantisation = "none"


def save(
    folder: Path, model: CtrModel, record: Record, tokenizer: Path, trained: Mapping[str, Tensor] | None = None
) -> None:
    """Write the adapter's folder, atomically: weights, tokenizer and record.

    Args:
        trained: the trained weights by name, whole, where the model's own are parts that several processes hold.
    """
    weights = trained if trained is not None else dict(model.named_parameters())
    own = {name.removeprefix("backbone."): w.detach() for name, w in weights.items() if name.startswith("backbone.")}
    with atomic_folder(folder) as partial:
        if record.tuning == "full":
            model.backbone.save_pretrained(partial, state_dict=own)
        else:
            model.backbone.save_pretrained(partial, state_dict=own, save_embedding_layers=False)
            (partial / "README.md").unlink()  # peft's empty form of a model card
        if model.slopes is not None:
            save_file(
                {str(i): weights[f"slopes.{i}"].detach().cpu() for i in range(len(model.slopes))}, partial / SLOPES
            )
        for file in partial.glob("*.safetensors"):
            file.chmod(0o644)  # safetensors makes files for the owner alone; a server may run as somebody else
        shutil.copytree(tokenizer, partial / "tokenizer")
        (partial / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n")


def read_record(folder: Path) -> Record:
    """The record of an adapter's folder.

    Raises:
        DtiError: there is none, or it is of another format.
    """
    content = read_json(folder / RECORD)
    if content.get("format") != FORMAT:
        raise DtiError(
            f"{folder / RECORD}: format {content.get('format')!r}, but this code reads {FORMAT}; train again"
        )
    sight, tokens = content["sight"], TokenIds(**content["tokens"])
    forgetting = Forgetting(**sight["forgetting"]) if sight["forgetting"] else None
    return Record(**(content | {"sight": Sight(**(sight | {"forgetting": forgetting})), "tokens": tokens}))


def weights_of(folder: Path, record: Record) -> Path:
    """The safetensors file of an adapter's folder.

    Raises:
        DtiError: it is missing (weights in any other form are not read).
    """
    file = folder / ("model.safetensors" if record.tuning == "full" else "adapter_model.safetensors")
    if not file.is_file():
        raise DtiError(f"{file}: not found; weights load from safetensors only. Make it with `dvc repro train`")
    return file


def load(folder: Path, choice: Choice, device: torch.device, layout: Layout = "stream") -> tuple[CtrModel, Record]:
    """Load an adapter for scoring, on a clean base where it is LoRA.

    Raises:
        DtiError: the folder is incomplete, its base model cannot be had or is another one, or the chosen backend does
            not run here.
    """
    record = read_record(folder)
    backend = backend_of(choice, device, record.sight.slopes)
    weights_of(folder, record)
    if record.tuning == "full":
        backbone = pretrained(str(folder.resolve()), None)
    else:
        if record.base_digest != (found := digest(record.backbone)):
            raise DtiError(
                f"{folder} was trained on another model than lies at {record.backbone} now (digest "
                f"{record.base_digest}, found {found}); put the model back, or train again"
            )
        base = pretrained(record.backbone, record.revision, record.quantisation)
        backbone = PeftModel.from_pretrained(base, str(folder), use_safetensors=True)
    model = CtrModel(backbone, record.tokens, record.sight, backend, layout)
    _load_slopes(folder, model)
    return model.to(device).eval(), record


def _load_slopes(folder: Path, model: CtrModel) -> None:
    if model.slopes is None:
        return
    if not (folder / SLOPES).is_file():
        raise DtiError(f"{folder / SLOPES}: not found; make it with `dvc repro train`")
    model.slopes.load_state_dict(load_file(folder / SLOPES))


def continue_from(folder: Path, model: CtrModel, record: Record, tokenizer: Path) -> None:
    """Copy an earlier adapter's weights into ``model``, which ``record`` describes (``train.init_from``).

    Raises:
        DtiError: the folder is no adapter, is of another kind, or has another tokenizer.
    """
    earlier = read_record(folder)
    for name in COMPARED:
        if getattr(earlier, name) != getattr(record, name):
            raise DtiError(
                f"train.init_from: {folder} has {name} {getattr(earlier, name)!r}, the parameters "
                f"{getattr(record, name)!r}; they must agree"
            )
    if sha256_of(folder / "tokenizer" / "tokenizer.json") != sha256_of(tokenizer / "tokenizer.json"):
        raise DtiError(f"train.init_from: {folder} has another tokenizer than the packed data; run `dvc repro pack`")
    _load_slopes(folder, model)
    weights = load_file(weights_of(folder, earlier))
    if record.tuning == "lora":
        if weights.keys() != get_peft_model_state_dict(model.backbone, save_embedding_layers=False).keys():
            raise DtiError(f"train.init_from: {folder} has weights of another shape of adapter")
        set_peft_model_state_dict(model.backbone, weights)
        return
    missing, unexpected = model.backbone.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - set(model.backbone.all_tied_weights_keys):
        raise DtiError(f"train.init_from: {folder} has weights of another shape of model")
