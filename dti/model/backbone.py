"""Causal language models: the project's own small Llama, or a pretrained one, with LoRA or trained whole."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from dti.errors import DtiError
from dti.files import digest_of
from dti.params import Lora, Model, Tiny
from dti.prompts.tokenizer import locate

warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # peft asks by the old name

Quantisation = Literal["none", "8bit", "4bit"]


def tiny_llama(tiny: Tiny, vocabulary: int, pad: int) -> PreTrainedModel:
    """A freshly initialised Llama of the size that ``tiny`` names; input and output embeddings are one.

    Args:
        vocabulary: number of token ids.
        pad: the padding token's id.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=tiny.width,
        intermediate_size=4 * tiny.width,
        num_hidden_layers=tiny.layers,
        num_attention_heads=tiny.heads,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def check_quantisation(quantisation: Quantisation) -> None:
    """Refuse what cannot run here, before any work.

    Raises:
        DtiError: there is no GPU, or bitsandbytes is missing.
    """
    if quantisation == "none":
        return
    if not torch.cuda.is_available():
        raise DtiError(f"model.quantisation: {quantisation} needs a GPU, and this machine has none; set none")
    if find_spec("bitsandbytes") is None:
        raise DtiError(
            f"model.quantisation: {quantisation} needs the package bitsandbytes; install it with "
            "`pip install bitsandbytes`, or set none"
        )


def _bits(quantisation: Quantisation) -> dict[str, Any]:
    """Arguments of from_pretrained; norms and embeddings stay float32, as does what adapters compute."""
    check_quantisation(quantisation)
    if quantisation == "8bit":
        form = BitsAndBytesConfig(load_in_8bit=True)
    else:
        form = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": form, "device_map": {"": torch.cuda.current_device()}, "use_safetensors": True}


def pretrained(backbone: str, revision: str | None, quantisation: Quantisation = "none") -> PreTrainedModel:
    """Load a causal language model: safetensors of a folder or the hub, or GGUF; no code of its own, float32.

    Args:
        quantisation: the bits that its matrices are held in, on the current GPU; ``none`` for float32, on the CPU.

    Raises:
        DtiError: it cannot be had, with the reason.
    """
    place = locate(backbone, revision)
    # Dequantised, a model is an ordinary one to peft and to save_pretrained.
    form = {"quantization_config": GgufConfig(dequantize=True)} if "gguf_file" in place else {"use_safetensors": True}
    if quantisation != "none":
        form = _bits(quantisation)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            **place, **form, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise DtiError(f"model.backbone: cannot load {backbone!r}: {error}") from error
    if found["missing_keys"]:  # they would be random
        missing = sorted(found["missing_keys"])
        raise DtiError(f"model.backbone: {backbone!r} lacks {len(missing)} weights, {missing[0]} first; choose another")
    return model


def digest(backbone: str) -> str | None:
    """A digest of a local backbone's files; None for ``tiny`` and for a hub id, which its revision names."""
    return digest_of([Path(backbone)]) if backbone != "tiny" and Path(backbone).exists() else None


def build(params: Model, vocabulary: int, pad: int, sum_token: int, precision: str) -> PreTrainedModel:
    """The backbone of ``params``, wrapped by LoRA where that is asked for.

    Args:
        vocabulary: number of token ids, for ``tiny``.
        sum_token: the [SUM] token, whose embedding is trained in either case.
        precision: ``fp32`` or ``bf16``, of the passes to come.
    """
    if params.backbone == "tiny":
        model = tiny_llama(params.tiny, vocabulary, pad)
        add_dropout(model, params.tiny.dropout)
    else:
        model = pretrained(params.backbone, params.revision, params.quantisation)
    if params.tuning == "full":
        return model
    model = with_lora(model, params.lora, sum_token)
    if precision == "bf16" and params.quantisation == "none":
        halve_frozen(model)
    return model


def with_lora(model: PreTrainedModel, lora: Lora, sum_token: int) -> Any:
    """Freeze the model and add LoRA to the matrices of its layers, all or the last; [SUM]'s embedding is trained, too.

    Raises:
        DtiError: the model has fewer layers than are to be adapted.
    """
    layers = model.get_decoder().layers
    if lora.layers is not None and lora.layers > len(layers):
        raise DtiError(f"model.lora.layers: {lora.layers}, but the backbone has {len(layers)}; lower it, or set null")
    names = {name.rpartition(".")[2] for name, part in layers.named_modules() if isinstance(part, nn.Linear)}
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(names),
        layers_to_transform=None if lora.layers is None else list(range(len(layers)))[-lora.layers :],
        trainable_token_indices=[sum_token],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def halve_frozen(model: Any) -> None:
    """Hold the frozen matrices of the layers in bf16, in place; LoRA itself, norms and embeddings stay float32.

    For passes under autocast, which get the same numbers from them: of a float32 matrix it would round a copy in every
    pass, and keep that for the backward pass. Nor does LoRA widen its input, which autocast would round again.
    """
    for part in model.get_base_model().get_decoder().layers.modules():
        if isinstance(part, nn.Linear) and not part.weight.requires_grad:
            part.to(torch.bfloat16)
        if isinstance(part, LoraLayer):
            part.cast_input_dtype_enabled = False


def add_dropout(model: PreTrainedModel, probability: float) -> None:
    """Drop out each layer's attention and feed-forward output during training, before the residual sum.

    Hugging Face's Llama has dropout on attention weights alone; a hook adds it where small models need it.
    """

    def drop(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return nn.functional.dropout(output, probability, module.training)

    if probability > 0:
        for layer in model.get_decoder().layers:
            layer.self_attn.o_proj.register_forward_hook(drop)
            layer.mlp.down_proj.register_forward_hook(drop)
