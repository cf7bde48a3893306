"""Attention as stock Hugging Face models call it: registered as ``dti`` at transformers' own extension point."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from dti.attention.beside import Beside
from dti.attention.blocks import Blocks
from dti.attention.families import (
    check_family,
    keys_and_values,
    norm_before_attention,
    norms_before_products,
    rotates,
)
from dti.attention.flex import Flex, unsupported
from dti.attention.reference import Reference
from dti.attention.rope import UNTURNED, NeutralRotary, Rope, Table
from dti.attention.visibility import Bank, Slopes, View
from dti.errors import DtiError

Backend = Literal["reference", "blocks", "flex"]
Choice = Backend | Literal["auto"]
BACKENDS: dict[Backend, type[Reference | Blocks | Flex]] = {
    "reference": Reference,
    "blocks": Blocks,
    "flex": Flex,
}
LENGTH_DEPENDENT = ("dynamic", "longrope")


class Attend(Protocol):
    """What a backend offers: attention of one row; see ``Reference``."""

    def content(self, q_HSD: Tensor, content: Bank, scale: float) -> Tensor: ...

    def probes(
        self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None = None
    ) -> Tensor: ...


def backend_of(choice: Choice, device: torch.device, slopes: Slopes = "fixed") -> Backend:
    """The backend that ``attention.backend`` chooses for a model on this device; prints it.

    ``auto`` takes flex where it runs, blocks elsewhere.

    Raises:
        DtiError: flex is chosen where it does not run.
    """
    reason = unsupported(device) or ("it has no learned slopes" if slopes == "learned" else None)
    if choice == "flex" and reason is not None:
        raise DtiError(f"attention.backend: flex does not run here: {reason}; set auto or blocks")
    backend: Backend = choice if choice != "auto" else "blocks" if reason else "flex"
    note = f" ({reason})" if choice == "auto" and reason and device.type == "cuda" else ""
    print(f"attention: {backend}{note}", flush=True)
    return backend


class Given(Protocol):
    """Keys and values of the content that were computed beforehand (``content: frozen``)."""

    def layer(self, number: int) -> Bank:
        """One layer's keys, as probes read them, and its values."""


@dataclass(frozen=True)
class Only:
    """The keys and values of the one layer that is computed with them."""

    bank: Bank

    def layer(self, number: int) -> Bank:
        """The bank, whichever layer asks."""
        return self.bank


@dataclass(frozen=True)
class Reading:
    """All that one forward pass of one row needs; the same for every layer.

    Attributes:
        content: how many of the pass's tokens are content; the others are probes.
        attend: the backend, with its plan of this row.
        query: rotation of all queries of the pass, content first.
        key: rotation of all its keys as probes read them.
        content_key: rotation of the content's keys as content reads them; None: the same as ``key``.
        initial: the embeddings of all tokens, (1, T, width), where states are reset towards them; else None.
        given: the content's keys and values, where the pass holds probes alone.
        kept: receives every layer's keys, as probes read them, and values, where they are wanted.
        slopes: each layer's learned slopes of the bias, (H,); None: ALiBi's own.
    """

    content: int
    attend: Attend
    query: Table
    key: Table
    content_key: Table | None
    initial: Tensor | None
    given: Given | None = None
    kept: list[Bank] | None = None
    slopes: Sequence[Tensor] | None = None

    def without_content(self, given: Given) -> "Reading":
        """The same for the probes alone, to which the content's keys and values are given."""
        probes = slice(self.content, None)
        initial = None if self.initial is None else self.initial[:, probes]
        query, key = self.query.part(probes), self.key.part(probes)
        return replace(self, content=0, query=query, key=key, content_key=None, initial=initial, given=given)


def attend_of(view: View, backend: Backend, heads: int, device: torch.device) -> Attend:
    """A backend's attention of one row."""
    make = BACKENDS[backend]
    return make(view, heads, device) if view.beside is None else Beside(make, view, heads, device)


def reading_of(view: View, rope: Rope, backend: Backend, heads: int, embedded: Tensor) -> Reading:
    """Plan a row's attention once, for all layers.

    Args:
        embedded: the embeddings of all tokens, (1, T, width).
    """
    like = embedded.new_empty(0, dtype=working_dtype(embedded))
    forgets = view.content_alpha is not None or view.probe_alpha is not None
    query = rope.table(torch.cat([view.position_S, view.query_position_K]), like)
    key = rope.table(torch.cat([view.key_position_S, view.query_position_K]), like)
    same = torch.equal(view.position_S, view.key_position_S)
    return Reading(
        content=view.content,
        attend=attend_of(view, backend, heads, like.device),
        query=query,
        key=key,
        content_key=None if same else rope.table(view.position_S, like),
        initial=embedded if forgets else None,
    )


def probe_reading_of(view: View, rope: Rope, backend: Backend, heads: int, embedded: Tensor, given: Given) -> Reading:
    """Plan a pass of a row's probes alone, whose content's keys and values are given.

    Args:
        embedded: the embeddings of the probes, (1, K, width).
    """
    like = embedded.new_empty(0, dtype=working_dtype(embedded))
    turn = rope.table(view.query_position_K, like)
    return Reading(0, BACKENDS[backend](view, heads, like.device), turn, turn, None, None, given)


def working_dtype(x: Tensor) -> torch.dtype:
    """What attention will receive: autocast's type where it is on, the weights' own elsewhere."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def dti_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    reading: Reading,
    **_: Any,
) -> tuple[Tensor, None]:
    """The registered function: queries (1, H, T, D), keys and values (1, G, T, D) with G <= H, none of them rotated.

    ``reading`` has no default on purpose: a forward pass without it is an error, not plain attention.
    """
    if not rotates(module):
        reading = replace(reading, query=UNTURNED, key=UNTURNED, content_key=None)
    S, T = reading.content, query.shape[2]
    q_HTD, k_GTD = reading.query.rotate(query[0]), reading.key.rotate(key[0])
    every = Bank(k_GTD, value[0], _initial_values(module, reading.initial, value.shape[1]))
    content, own = every.map(lambda x: x[:, :S]), every.map(lambda x: x[:, S:])
    if reading.kept is not None:
        reading.kept.append(Bank(content.k.to(content.v.dtype), content.v))  # autocast leaves keys in float32
    q_HSD, q_HKD = q_HTD.split([S, T - S], dim=1)
    parts = []
    if S > 0:
        k_GSD = reading.content_key.rotate(key[0][:, :S]) if reading.content_key else content.k
        parts.append(reading.attend.content(q_HSD, content._replace(k=k_GSD), scaling))
    if S < T:
        read = content
        if reading.given is not None:
            # Kept states may be of another type than this pass: bf16 ones where it has no autocast.
            read = reading.given.layer(module.layer_idx).map(lambda x: x.to(own.v.dtype))
        slopes_H = None if reading.slopes is None else reading.slopes[module.layer_idx]
        parts.append(reading.attend.probes(q_HKD, read, own, scaling, slopes_H))
    return torch.cat(parts, dim=1).transpose(0, 1).unsqueeze(0).contiguous(), None


def _initial_values(module: Any, initial: Tensor | None, heads: int) -> Tensor | None:
    """This layer's value projection of the initial embeddings, behind this layer's norm, (G, T, D)."""
    if initial is None:
        return None
    values = module.v_proj(module.before_attention[0](initial))[0]
    return values.unflatten(-1, (heads, -1)).transpose(0, 1)


AttentionInterface.register("dti", dti_attention)


def leave_content_out(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Before the last layer (a forward hook): nobody reads what it makes of content, but for its keys and values.

    So these alone are computed for content, and the layer itself for the probes. Exact, as every token passes through a
    layer by itself but for attention.
    """
    reading: Reading = named["reading"]
    if reading.content == 0 or reading.kept is not None:
        return None
    hidden_1TD, S, attention = inputs[0], reading.content, layer.self_attn
    # Through [0]: a slice of (1, T, D) has other strides than a tensor of its own, and would be compiled for them.
    content_1SD, probes_1KD = (x[None] for x in (hidden_1TD[0, :S], hidden_1TD[0, S:]))
    k_GSD, v_GSD = keys_and_values(attention, attention.before_attention[0](content_1SD))
    if rotates(attention):
        k_GSD = reading.key.part(slice(S)).rotate(k_GSD)
    initial = None if reading.initial is None else reading.initial[:, :S]
    bank = Bank(k_GSD, v_GSD, _initial_values(attention, initial, v_GSD.shape[0]))
    return (probes_1KD, *inputs[1:]), named | {"reading": reading.without_content(Only(bank))}


@cache
def _rounding(kind: Any) -> Any:
    """The same norm, whose results, under autocast, are rounded once for all matrix products behind it.

    A class, not a hook: torch.compile makes one graph of a class's forward, and a second one of a hook.
    """

    class Rounding(kind):
        def forward(self, x: Tensor) -> Tensor:
            normed: Tensor = super().forward(x)
            return normed.to(working_dtype(normed))

    return Rounding


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
        for norm in norms_before_products(kind, layer):
            plain: Any = type(norm)
            norm.__class__ = _rounding(plain)
    decoder.layers[-1].register_forward_pre_hook(leave_content_out, with_kwargs=True)
    decoder.rotary_emb = NeutralRotary(2 * rotary.inv_freq.numel())
    model.config._attn_implementation = "dti"
    model.config.use_cache = False
    return rope
