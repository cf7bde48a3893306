"""From parameters to a trained adapter: what a run is made of, and what it reports."""

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from dti.attention.forgetting import Forgetting
from dti.attention.plugin import backend_of
from dti.attention.visibility import Sight
from dti.errors import DtiError
from dti.files import digest_of
from dti.home import ROOT, home
from dti.model.adapter import FORMAT, Record, continue_from
from dti.model.backbone import build, digest
from dti.model.catalogue import give_states
from dti.model.ctr import CtrModel
from dti.model.device import device_of
from dti.params import Attention, Model, Params, Train
from dti.prompts.batching import shortened
from dti.prompts.gguf_file import weights_of
from dti.prompts.packing import Prompts, recut, some_users, stream_prompts, training_prompts
from dti.prompts.store import Store
from dti.training.checkpoint import Checkpoint, Named, trained_weights
from dti.training.engine import Engine
from dti.training.memory import peak_bytes
from dti.training.ranks import Ranks
from dti.training.trainer import Trainer, Work

CODE = ("attention", "model", "prompts", "training")
HARMLESS = {"checkpoint_seconds", "activation_checkpointing", "processes", "engine", "compile"}
"""Parameters that change nothing of the result but its rounding (and, with dropout, what several processes draw): a run
may be resumed with other values."""


def shape_of(model: Model) -> dict[str, Any]:
    """What must agree for weights to fit: the tiny Llama's or the LoRA adapter's parameters, dropout aside."""
    section = model.lora if model.tuning == "lora" else model.tiny if model.backbone == "tiny" else None
    return section.model_dump(exclude={"dropout"}, exclude_none=True) if section else {}


def sight_of(attention: Attention, n: int) -> Sight:
    """How a model with these parameters reads n context interactions."""
    reset = attention.reset
    forgetting = Forgetting(reset.family, reset.strength, reset.at) if attention.leakage == "reset" else None
    return Sight(
        policy=attention.policy,
        probe_position=attention.probe_position,
        context=attention.context,
        n=n,
        forgetting=forgetting,
        content=attention.content,
        slopes=attention.slopes,
        probe_tokens=attention.probe_tokens,
    )


def record_of(store: Store, params: Params) -> Record:
    """What the adapter that these parameters make will say of itself.

    Raises:
        DtiError: the backbone is a GGUF file that cannot be read.
    """
    attention, meta = params.attention, store.meta
    return Record(
        format=FORMAT,
        backbone=params.model.backbone,
        revision=params.model.revision,
        tuning=params.model.tuning,
        shape=shape_of(params.model),
        sight=sight_of(attention, meta.n),
        tokens=meta.tokens,
        context_labels=meta.context_labels,
        profile=meta.profile,
        instruction=meta.instruction,
        k=meta.k,
        seed=params.train.seed,
        dataset=meta.dataset,
        packed_digest=meta.digest,
        backbone_weights=weights_of(params.model.backbone),
        base_digest=digest(params.model.backbone),
        quantisation=params.model.quantisation,
    )


def model_of(store: Store, params: Params, record: Record) -> CtrModel:
    """The model to train, on its device, with its first weights.

    Raises:
        DtiError: there is no such device, or the attention's backend does not run on it.
    """
    torch.manual_seed(params.train.seed)
    meta, device = store.meta, device_of(params.train.device)
    backend = backend_of(params.attention.backend, device, params.attention.slopes)
    backbone = build(params.model, meta.vocabulary, meta.tokens.pad, meta.tokens.sum, params.train.precision)
    model = CtrModel(backbone, meta.tokens, record.sight, backend, params.attention.layout)
    if params.train.init_from is not None:
        continue_from(Path(params.train.init_from), model, record, store.folder / "tokenizer")
    model.checkpointed_above = params.train.checkpointed_above
    if params.train.compile:
        _compile(model, device)
    if params.train.engine != "fsdp" or record.sight.content == "frozen":
        model.to(device)  # FSDP moves one layer at a time: the whole need not fit
    give_states(model, store, params.train.tokens_per_pass, params.train.precision)
    return model


def _compile(model: CtrModel, device: torch.device) -> None:
    """Compile, or say why not."""
    if device.type == "cpu":
        print("train.compile: left out; on a CPU it takes a minute and gains nothing (docs/log.md)", flush=True)
    else:
        model.compile_layers()


def work_of(store: Store, train: Train, sight: Sight) -> Work:
    """The training prompts, and the validation prompts of a fixed random choice of users.

    Validation sees what serving sees: k = 1. For the isolated policy a stream gives the same logits (tested), so
    whole histories are used there, which costs a fraction; and histories that are longer than a pass are cut.
    """
    training = trained_on(store, training_prompts(store), train)
    if sight.policy == "isolated":
        training = shortened(store, training, train.tokens_per_pass)
    return Work(store, training, validated_on(store, train, sight))


def trained_on(store: Store, prompts: Prompts, train: Train) -> Prompts:
    """Of all training prompts those of ``train.targets``: the same users for every seed and every k."""
    return prompts if train.targets is None else some_users(store, prompts, train.targets, seed=0)


def validated_on(store: Store, train: Train, sight: Sight) -> Prompts | None:
    """The validation prompts as training scores them, see ``work_of``; None where there are none."""
    users = stream_prompts(store, "valid", "all")
    if len(users) == 0:
        return None
    chosen = some_users(store, users, train.valid_targets, train.seed)
    far_prefix = store.meta.prefixed and sight.probe_position == "rope"  # its distance grows with the stream
    prompts = chosen if sight.policy == "isolated" and not far_prefix else recut(store, chosen, 1)
    return shortened(store, prompts, train.tokens_per_pass) if sight.policy == "isolated" else prompts


def key_of(store: Store, params: Params) -> str:
    """Names a run by all that decides its result: packed data, parameters, code, torch's version."""
    train = {k: v for k, v in params.train.model_dump().items() if k not in HARMLESS}
    start = params.train.init_from
    parts = {
        "packed": store.meta.digest,
        "model": params.model.model_dump(),
        "base": digest(params.model.backbone),
        "attention": params.attention.model_dump(),
        "train": train,
        "init_from": digest_of([Path(start)]) if start is not None else None,
        "code": digest_of(ROOT / "dti" / room for room in CODE),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


Finish = Callable[[CtrModel, Record, Trainer, Named], None]
"""Gets the trained weights whole, by name: the model's own may be parts."""
ALONE = Ranks()


def train(store: Store, params: Params, finish: Finish, ranks: Ranks = ALONE) -> None:
    """Train, or take up the run where its last checkpoint left it.

    Args:
        finish: keeps the results, called in the first process alone; the checkpoint is removed after it.
        ranks: the processes that train together; all call this.

    Raises:
        DtiError: there is nothing to train on, or the same run is under way in another process.
    """
    if store.meta.counts.train == 0:
        raise DtiError(f"{store.folder}: no training targets; lower data.min_context or give more data")
    record = record_of(store, params)
    model = model_of(store, params, record)
    checkpoint = Checkpoint(home() / "checkpoints" / key_of(store, params))
    with checkpoint.held() if ranks.first else nullcontext():
        ranks.wait()  # until the first process holds the checkpoint
        engine = Engine(model, params.train.engine, ranks)
        trainer = Trainer(model, work_of(store, params.train, record.sight), params.train, checkpoint, engine)
        if trainer.state.resumed:
            print(f"resumed at epoch {trainer.state.epoch + 1}, step {trainer.state.step}", flush=True)
        trainer.run()
        weights = trainer.whole_weights()
        if ranks.first:
            finish(model, record, trainer, weights)
            checkpoint.remove()


def compile_seconds() -> float:
    """Seconds that torch.compile took in this process, for ``train.compile`` or flex; part of the training hours."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return float(dynamo.calculate_time_spent().get("total_wall_time", 0.0)) if dynamo else 0.0


def report(model: CtrModel, record: Record, trainer: Trainer) -> dict[str, object]:
    """The content of reports/train.json.

    Hours are those of this training, wherever it ran, all epochs; targets and tokens are those of one epoch.
    """
    state = trainer.state
    best = state.history[trainer.best_epoch - 1]
    return {
        "backbone": Path(record.backbone).name if Path(record.backbone).exists() else record.backbone,
        "backbone_weights": record.backbone_weights,
        "training_hours": state.hours,
        "wait_hours": state.wait / 3600,
        "compute_hours": state.compute / 3600,
        "validation_hours": state.validation / 3600,
        "checkpoint_hours": state.saving / 3600,
        "gpu_hours": state.hours * trainer.ranks.count if model.device.type == "cuda" else 0.0,
        "joules": state.joules if trainer.meter.sources else None,
        "joules_of": trainer.meter.sources,
        "compile_seconds": compile_seconds(),
        "peak_bytes": peak_bytes(model.device),
        "targets_per_second": state.targets / (state.wait + state.compute),
        "train_targets": int(trainer.work.training.targets.sum()),
        "train_tokens": state.tokens // state.epoch,
        "epochs": state.epoch,
        "best_epoch": trainer.best_epoch,
        "steps": state.epoch * trainer.steps_per_epoch,
        "valid_auc": best["valid_auc"],
        "valid_log_loss": best["valid_log_loss"],
        "layout": model.layout,
        "content": record.sight.content,
        "probe_tokens": record.sight.probe_tokens,
        "catalogue_bytes": model.states.shape.bytes if model.states else 0,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": sum(p.numel() for p in trained_weights(model).values()),
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processes": trainer.ranks.count,
        "engine": trainer.params.engine,
        "resumed": state.resumed,
    }
