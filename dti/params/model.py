"""Sections of the model: backbone, adapter, and who reads what."""

from typing import Literal

from pydantic import Field, model_validator

from dti.params.section import Fraction, Positive, Section


class Tiny(Section):
    layers: Positive = Field(description="decoder layers")
    width: Positive = Field(description="hidden size")
    heads: Positive = Field(description="attention heads; width / heads must be even")
    vocabulary: int = Field(ge=300, description="size of the BPE vocabulary trained on the item texts")
    dropout: Fraction = Field(description="dropout on the residual branches during training")

    @model_validator(mode="after")
    def _divisible(self) -> "Tiny":
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"model.tiny: width {self.width} / heads {self.heads} must be an even whole number")
        return self


class Lora(Section):
    r: Positive = Field(description="rank of the adapter")
    alpha: Positive = Field(description="scale: the update is multiplied by alpha / r")
    dropout: Fraction = Field(description="dropout before the adapter")
    layers: Positive | None = Field(description="adapt the last so many layers alone; null: all")


class Model(Section):
    backbone: str = Field(
        min_length=1, description="tiny, a local folder or GGUF file, or a hub id of a causal language model"
    )
    revision: str | None = Field(description="the hub revision to pin; null for tiny, a folder or a file")
    tuning: Literal["full", "lora"] = Field(description="train all weights, or a LoRA adapter on all linear layers")
    quantisation: Literal["none", "8bit", "4bit"] = Field(
        description="hold a frozen base's matrices in 8 or 4 bits (lora on CUDA; needs the package bitsandbytes)"
    )
    tiny: Tiny = Field(description="the small Llama that the project builds itself")
    lora: Lora = Field(description="the adapter of tuning: lora")

    @model_validator(mode="after")
    def _useful(self) -> "Model":
        if self.backbone == "tiny" and self.revision is not None:
            raise ValueError("model.revision has no meaning for backbone tiny; set it to null")
        if self.backbone == "tiny" and self.tuning == "lora":
            raise ValueError("model.tuning lora needs a pretrained backbone; tiny starts from random weights: use full")
        if self.quantisation != "none" and self.tuning == "full":
            raise ValueError(
                f"model.quantisation {self.quantisation} needs model.tuning lora: few bits cannot be trained"
            )
        if self.quantisation != "none" and self.backbone.endswith(".gguf"):
            raise ValueError("model.quantisation takes safetensors; a GGUF file is dequantised: set it to none")
        return self


class Reset(Section):
    family: Literal["linear", "exponential", "step"] = Field(
        description="how much is reset at distance d: strength * d / n, 1 - (1 - strength)^d, or strength for d > 0"
    )
    strength: float = Field(ge=0, le=1, description="0 resets nothing, 1 everything at the longest distance")
    at: Literal["probes", "content", "both"] = Field(description="whose reading resets what it reads")


class Attention(Section):
    policy: Literal["window", "isolated"] = Field(
        description="content reads its n preceding interactions, or its own alone"
    )
    probe_position: Literal["rope", "alibi", "local"] = Field(description="how a probe sees distance")
    slopes: Literal["fixed", "learned"] = Field(
        description="how fast what a probe reads fades with distance: ALiBi's slopes, or learned per layer and head"
    )
    context: Literal["all", "label"] = Field(
        description="what a probe reads of a context interaction: all its tokens, or its label token"
    )
    probe_tokens: int = Field(
        ge=1,
        le=16,
        description="probe tokens of a target, each of which reads those before it; the last gives its logit",
    )
    leakage: Literal["none", "reset"] = Field(
        description="remedy for what windows leak: none, or reset states towards their initial ones with distance"
    )
    reset: Reset = Field(description="how leakage: reset works")
    layout: Literal["stream", "unique"] = Field(
        description="stream encodes each interaction; unique each distinct item of a pass once (isolated only)"
    )
    content: Literal["trained", "frozen"] = Field(
        description="frozen: the adapter acts on probes alone, and the base model encodes every item once (unique only)"
    )
    backend: Literal["auto", "reference", "blocks", "flex"] = Field(
        description="the attention code that runs; flex needs CUDA; auto takes flex there and blocks elsewhere"
    )

    @model_validator(mode="after")
    def _shares(self) -> "Attention":
        if self.layout == "unique" and self.policy == "window":
            raise ValueError(
                "attention.layout unique needs policy isolated: a window's states depend on what stands before them"
            )
        if self.layout == "unique" and self.probe_position == "rope":
            raise ValueError(
                "attention.layout unique cannot serve probe_position rope: an item that several interactions share has "
                "no one place in a stream; set local or alibi"
            )
        if self.content == "frozen" and self.layout == "stream":
            raise ValueError("attention.content frozen reads the catalogue's states; set attention.layout unique")
        return self

    @model_validator(mode="after")
    def _fades(self) -> "Attention":
        if self.slopes == "learned" and self.probe_position == "rope":
            raise ValueError("attention.slopes learned has no meaning for probe_position rope, which has no bias")
        if self.slopes == "learned" and self.backend == "flex":
            raise ValueError("attention.slopes learned does not run on flex; set attention.backend blocks")
        return self

    @model_validator(mode="after")
    def _leaks(self) -> "Attention":
        if self.leakage == "reset" and self.policy == "isolated":
            raise ValueError("attention.leakage reset has no meaning for policy isolated: it leaks nothing; set none")
        return self
