"""What a family of backbones needs beyond Llama's layout, and which families are refused.

Nothing here depends on sliding windows: where a configuration has one (Mistral, Qwen, SmolLM3), the visibility rule of
``visibility.py`` stands in its place, in every layer and also where it reads further back. That is no error, as it is
with every mask of this project that the backbone was not pretrained with: training teaches the reading, and what a
token reads depends on the prompt's texts, which no configuration knows.

Gemma's embeddings are scaled inside its embedding module, so what that module returns is what enters the first layer.
"""

from typing import Any

from torch import Tensor, nn

from dti.errors import DtiError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "olmo2")
POST_NORM = ("olmo2",)
_TABLES = "it rotates by another table in each type of layer"
REFUSED = {
    "gemma2": "it caps attention scores, which this attention does not compute",
    "gemma3": _TABLES,
    "gemma3_text": _TABLES,
    "olmo3": _TABLES,
    "phi3": "it projects queries, keys and values at once, so that initial values cannot be had alone",
    "gpt_oss": "its attention has sinks, which this attention does not compute",
    "granite": "it scales embeddings behind its embedding module, and logits",
}


def check_family(kind: str) -> None:
    """Pass the supported families.

    Args:
        kind: the ``model_type`` of a backbone's configuration.

    Raises:
        DtiError: the family is not supported, with the reason where it is known.
    """
    if kind not in FAMILIES:
        reason = f" ({REFUSED[kind]})" if kind in REFUSED else ""
        raise DtiError(f"model.backbone: family {kind!r} is not supported{reason}; supported are {', '.join(FAMILIES)}")


def norm_before_attention(kind: str, layer: Any) -> nn.Module:
    """What a decoder layer does to the residual stream before attention projects it."""
    return nn.Identity() if kind in POST_NORM else layer.input_layernorm


def norms_before_products(kind: str, layer: Any) -> list[nn.Module]:
    """The norms of a decoder layer whose results go into matrix products and nowhere else."""
    return [] if kind in POST_NORM else [layer.input_layernorm, layer.post_attention_layernorm]


def keys_and_values(attention: Any, x_1SD: Tensor) -> tuple[Tensor, Tensor]:
    """The keys, not rotated, and the values that a layer's attention makes of its input, each (G, S, D)."""
    k_1SD, v_1SD = attention.k_proj(x_1SD), attention.v_proj(x_1SD)
    if (norm := getattr(attention, "k_norm", None)) is not None:  # OLMo2's is as wide as all heads, Qwen3's as one
        k_1SD = norm(k_1SD.unflatten(-1, (-1, norm.weight.numel()))).flatten(-2)
    k_GSD, v_GSD = (x[0].unflatten(-1, (-1, attention.head_dim)).transpose(0, 1) for x in (k_1SD, v_1SD))
    return k_GSD, v_GSD


def rotates(attention: nn.Module) -> bool:
    """Whether a layer's attention has positions: some of SmolLM3's have none, for content and probes alike."""
    return bool(getattr(attention, "use_rope", True))
