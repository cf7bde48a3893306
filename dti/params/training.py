"""The section of the training: steps, devices, processes."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from dti.params.section import Fraction, Positive, Section


class Train(Section):
    epochs: Positive = Field(description="passes over the training targets, at most")
    targets: Positive | None = Field(
        description="train on whole users drawn at random, of at most this many targets in all, one user at least; "
        "null = on everyone"
    )
    targets_per_step: Positive = Field(description="targets per optimiser step")
    composition: Literal["mixed", "overlapping"] = Field(
        description="prompts of a step: mixed = at random; overlapping = such as share items (layout unique)"
    )
    tokens_per_pass: int = Field(
        ge=64,
        description="content tokens of a forward pass: bounds the memory (several probe tokens come on top); "
        "layout unique shares items within a pass",
    )
    learning_rate: float = Field(gt=0, le=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(ge=0, description="AdamW's weight decay, on matrices only")
    warmup: Fraction = Field(description="share of all steps in which the learning rate rises; then it falls by cosine")
    clip: float = Field(gt=0, description="gradients are clipped to this norm")
    patience: int = Field(ge=0, description="stop after this many epochs without a better validation AUC; 0 = never")
    valid_targets: Positive = Field(description="validation targets scored after each epoch, at most")
    seed: int = Field(ge=0, description="seed of initial weights, order and dropout")
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto takes a GPU where there is one")
    precision: Literal["fp32", "bf16"] = Field(description="arithmetic of the forward and backward pass")
    activation_checkpointing: bool | Positive = Field(
        description="keep each layer's input alone and compute the layer again in the backward pass: less memory, a "
        "third more time (lora: half more); a number = in passes that compute more tokens than this, content and probes"
    )
    compile: bool = Field(description="compile all but attention itself with torch.compile (CUDA alone)")
    processes: Positive = Field(description="processes that train together on this machine, one for each GPU")
    engine: Literal["single", "ddp", "fsdp"] = Field(
        description="how they share the model: one process alone; ddp: each has all of it (adapters, small models); "
        "fsdp: each has a part of every weight (large ones)"
    )
    checkpoint_seconds: int = Field(ge=0, description="seconds between checkpoints; 0 = after every step")
    init_from: str | None = Field(description="a folder made by an earlier training run, to continue from")

    @property
    def checkpointed_above(self) -> int | None:
        """Passes of more tokens have activation checkpointing; None: none has."""
        chosen = self.activation_checkpointing
        return chosen if not isinstance(chosen, bool) else 0 if chosen else None

    @model_validator(mode="after")
    def _shared(self) -> "Train":
        if self.engine == "single" and self.processes > 1:
            raise ValueError(f"train.processes {self.processes} needs train.engine ddp or fsdp")
        if self.engine != "single" and self.processes == 1:
            raise ValueError(f"train.engine {self.engine} has no meaning for one process; raise train.processes")
        return self

    @model_validator(mode="after")
    def _compiles(self) -> "Train":
        if self.compile and self.device == "cpu":
            raise ValueError("train.compile gains nothing on a CPU; set it to false")
        return self

    @model_validator(mode="after")
    def _kept(self) -> "Train":
        if self.init_from is not None and Path(self.init_from).resolve() == Path("models/adapter").resolve():
            raise ValueError("train.init_from is this run's own output, which DVC removes first; copy the folder")
        return self
