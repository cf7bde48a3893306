"""Attention as stock Hugging Face models call it: registered as ``dti`` at transformers' own extension point."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from dti.attention.blocks import Blocks
from dti.attention.families import check_family, norm_before_attention, rotates
from dti.attention.reference import Reference
from dti.attention.rope import UNTURNED, NeutralRotary, Rope, Table
from dti.attention.visibility import View
from dti.errors import DtiError

Backend = Literal["reference", "blocks"]
LENGTH_DEPENDENT = ("dynamic", "longrope")


class Attend(Protocol):
    """What a backend offers: attention of one row; see ``Reference.__call__``."""

    def __call__(
        self, q_HTD: Tensor, k_HSD: Tensor, k_HTD: Tensor, v_HTD: Tensor, v0_HTD: Tensor | None, scale: float
    ) -> Tensor: ...


@dataclass(frozen=True)
class Reading:
    """All that one forward pass of one row needs; the same for every layer.

    Attributes:
        content: S, the number of content tokens.
        attend: the backend, with its plan of this row.
        query: rotation of all queries, (T, D).
        key: rotation of all keys as probes read them, (T, D).
        content_key: rotation of the content's keys as content reads them, (S, D); None: the same as ``key``.
        initial: the embeddings of all tokens, (1, T, width), where states are reset towards them; else None.
    """

    content: int
    attend: Attend
    query: Table
    key: Table
    content_key: Table | None
    initial: Tensor | None


def reading_of(view: View, rope: Rope, backend: Backend, heads: int, embedded: Tensor) -> Reading:
    """Plan a row's attention once, for all layers.

    Args:
        embedded: the embeddings of all tokens, (1, T, width).
    """
    like = embedded.new_empty(0, dtype=_working_dtype(embedded))
    forgets = view.content_alpha is not None or view.probe_alpha is not None
    plan: Attend = (Reference if backend == "reference" else Blocks)(view, heads, like.device)
    query = rope.table(torch.cat([view.position_S, view.query_position_K]), like)
    key = rope.table(torch.cat([view.key_position_S, view.query_position_K]), like)
    same = torch.equal(view.position_S, view.key_position_S)
    content_key = None if same else rope.table(view.position_S, like)
    return Reading(view.content, plan, query, key, content_key, embedded if forgets else None)


def _working_dtype(x: Tensor) -> torch.dtype:
    """What attention will receive: autocast's type where it is on, the weights' own elsewhere."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def dti_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    reading: Reading,
    **_: Any,
) -> tuple[Tensor, None]:
    """The registered function: queries (1, H, T, D), keys and values (1, H or fewer, T, D), none of them rotated.

    ``reading`` has no default on purpose: a forward pass without it is an error, not plain attention.
    """
    if not rotates(module):
        reading = replace(reading, query=UNTURNED, key=UNTURNED, content_key=None)
    group = query.shape[1] // key.shape[1]
    q_HTD, k_HTD, v_HTD = query[0], _each_head(key[0], group), _each_head(value[0], group)
    k_probe = reading.key.rotate(k_HTD)
    S = reading.content
    k_content = reading.content_key.rotate(k_HTD[:, :S]) if reading.content_key else k_probe[:, :S]
    v0_HTD = _initial_values(module, reading.initial, value.shape[1], group)
    out_HTD = reading.attend(reading.query.rotate(q_HTD), k_content, k_probe, v_HTD, v0_HTD, scaling)
    return out_HTD.transpose(0, 1).unsqueeze(0).contiguous(), None


def _each_head(x: Tensor, group: int) -> Tensor:
    """Repeat key/value heads for the query heads that share them."""
    return x if group == 1 else x.repeat_interleave(group, dim=0)


def _initial_values(module: Any, initial: Tensor | None, heads: int, group: int) -> Tensor | None:
    """This layer's value projection of the initial embeddings, behind this layer's norm if any, (H, T, D)."""
    if initial is None:
        return None
    values = module.v_proj(module.before_attention[0](initial))[0]
    return _each_head(values.unflatten(-1, (heads, -1)).transpose(0, 1), group)


AttentionInterface.register("dti", dti_attention)


def attach(model: PreTrainedModel) -> Rope:
    """Make a stock causal language model read by this project's rules; returns its rotary frequencies.

    Raises:
        DtiError: the model's family or its kind of RoPE is not supported.
    """
    kind = model.config.model_type
    check_family(kind)
    decoder = model.get_decoder()
    rotary = decoder.rotary_emb
    if rotary.rope_type in LENGTH_DEPENDENT:
        raise DtiError(
            f"model.backbone: RoPE of type {rotary.rope_type!r} depends on the length of the prompt; refused"
        )
    rope = Rope(rotary.inv_freq, float(rotary.attention_scaling))
    for layer in decoder.layers:
        norm = norm_before_attention(kind, layer)
        layer.self_attn.before_attention = (norm,)  # a tuple: the norm stays the layer's own
    decoder.rotary_emb = NeutralRotary(2 * rotary.inv_freq.numel())
    model.config._attn_implementation = "dti"
    model.config.use_cache = False
    return rope
