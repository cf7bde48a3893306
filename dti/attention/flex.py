"""FlexAttention: a fused kernel for content, one for probes, that skip every block of 128 x 128 in which nobody reads.

Its block masks come straight from the intervals: no T x T, nor K x L, is ever made to find them.

Shape suffixes: Q queries and L keys of one call, both padded to whole blocks; R and C blocks of queries and of keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention, or_masks

from dti.attention.reference import slopes_of
from dti.attention.sending import sent
from dti.attention.visibility import Bank, View

BLOCK = 128
NARROWEST = 16
"""Triton's matrix product takes no narrower heads; zeros behind them change nothing, as the scale is given."""
FORGOTTEN = -1e4
"""In place of log 0: its exponential is 0, too, and no difference of two of them is NaN."""
Interval = tuple[Tensor, Tensor]
"""For each query the first key it reads and one past the last, both (Q,)."""
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def unsupported(device: torch.device) -> str | None:
    """Why this backend cannot train on a device; None where it can."""
    if device.type != "cuda":
        return f"FlexAttention has no backward pass on device {device.type}; it needs CUDA"
    return None if find_spec("triton") else "FlexAttention needs the package triton, which is not installed"


@cache
def _kernel(device: str) -> Any:
    """The compiled function; without CUDA the plain one, which tests compare with the reference."""
    if device != "cuda":
        return flex_attention
    print("compiling attention for this shape of model, once: up to a few minutes", flush=True)
    # Content and probes, fixed and changing lengths, with and without gradients: more variants than torch's limit of
    # 8, behind which it would run the plain function, which has no blocks. fullgraph: rather fail than do that.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
    # Of several graphs that fit, the oldest, not the last used: otherwise a layer that is computed again in the
    # backward pass may take another one than before, which saves other tensors (pytorch issue 166926).
    torch._C._dynamo.eval_frame._set_lru_cache(False)  # type: ignore[attr-defined]
    return torch.compile(flex_attention, fullgraph=True)


@dataclass(frozen=True)
class _Plan:
    """One call of the kernel: who reads whom, and what is added to the scores."""

    mask: BlockMask
    score_mod: ScoreMod | None

    def attend(self, q_HQD: Tensor, k_HLD: Tensor, v_HLD: Tensor, scale: float) -> Tensor:
        """Call the kernel; the queries may be fewer than the plan's, the result is as long as they are."""
        length, width, dtype = q_HQD.shape[1], v_HLD.shape[2], v_HLD.dtype
        # Autocast leaves some queries and keys in float32; the kernel wants one type. Contiguous: other strides would
        # compile again.
        q, k, v = (
            F.pad(x.to(dtype), (0, max(0, NARROWEST - width), 0, rows - x.shape[1])).contiguous()[None]
            for x, rows in zip((q_HQD, k_HLD, v_HLD), self.mask.shape[-2:] + self.mask.shape[-1:], strict=True)
        )
        kernel = _kernel(q.device.type)
        shared = k.shape[1] < q.shape[1]  # by several query heads
        out = kernel(q, k, v, score_mod=self.score_mod, block_mask=self.mask, scale=scale, enable_gqa=shared)
        return out[0, :, :length, :width]


class Flex:
    """The same attention as ``Reference``, for CUDA; forgetting as one softmax over twice the keys."""

    gathers = False

    def __init__(self, view: View, heads: int, device: torch.device) -> None:
        self.view, self.heads, self.device = view, heads, device

    def content(self, q_HSD: Tensor, content: Bank, scale: float) -> Tensor:
        """Attend from content to content; arguments and result as in ``Reference``."""
        padding = (0, 0, 0, -q_HSD.shape[1] % BLOCK)
        k, v = self._banks(content.map(lambda x: F.pad(x, padding)), self.view.content_alpha)
        return self._content.attend(q_HSD, k, v, scale)

    def probes(self, q_HKD: Tensor, content: Bank, own: Bank, scale: float, slopes_H: Tensor | None = None) -> Tensor:
        """Attend from probes to content and themselves; arguments and result as in ``Reference``.

        Raises:
            NotImplementedError: slopes are learned; gradients of tables that the kernel captures are not to be trusted.
        """
        if slopes_H is not None:
            raise NotImplementedError("flex has no learned slopes")
        plan, keys_L = self._probes
        k, v = torch.cat([content.k, own.k], dim=1), torch.cat([content.v, own.v], dim=1)
        v0 = None if content.v0 is None else torch.cat([content.v0, own.v], dim=1)  # a probe never forgets itself
        k, v = self._banks(Bank(k, v, v0).map(lambda x: x.index_select(1, keys_L)), self.view.probe_alpha)
        return plan.attend(q_HKD, k, v, scale)

    def _banks(self, bank: Bank, alpha: Tensor | None) -> tuple[Tensor, Tensor]:
        """The keys and values as they are; both banks of values, one behind the other, where they forget."""
        k, v, v0 = bank
        if alpha is None or v0 is None:
            return k, v
        return torch.cat([k, k], dim=1), torch.cat([v, v0], dim=1)

    @cached_property
    def _content(self) -> _Plan:
        view = self.view
        place_Q = torch.arange(_whole(view.content))
        # Rows past the end read themselves, so that no softmax is empty.
        start_Q, stop_Q = (torch.cat([x, place_Q[view.content :]]) for x in (view.start_S, view.stop_S))
        order_Q = _filled(view.order_S, place_Q.numel())
        return self._plan([(start_Q, stop_Q), (place_Q, place_Q + 1)], order_Q, order_Q, False, view.content_alpha)

    @cached_property
    def _probes(self) -> tuple[_Plan, Tensor]:
        """The plan, and the place among all tokens of each key: those listed, each once, then the probes' own."""
        view = self.view
        rows, listed = _whole(view.probes), [segment.keys_N.numel() for segment in view.segments]
        intervals, columns = [], _whole(sum(listed))
        for i, segment in enumerate(view.segments):
            low_K, high_K = segment.low_K + sum(listed[:i]), segment.high_K + sum(listed[:i])
            intervals.append((_filled(low_K, rows), _filled(high_K, rows)))
        own_Q = torch.arange(rows)
        intervals.append((columns + own_Q - own_Q % view.probe_tokens, columns + own_Q + 1))
        keys, order = (torch.cat([getattr(s, name) for s in view.segments]) for name in ("keys_N", "order_N"))
        keys_L = torch.cat([_filled(keys, columns), view.content + own_Q.clamp(max=view.probes - 1)])
        target_Q = _filled(view.target_K, rows)
        order_L = torch.cat([_filled(order, columns), target_Q])
        return self._plan(intervals, target_Q, order_L, view.biased, view.probe_alpha), sent(keys_L, self.device)

    def _plan(
        self, intervals: list[Interval], reader_Q: Tensor, order_L: Tensor, biased: bool, alpha: Tensor | None
    ) -> _Plan:
        """Plan a call whose queries, of interactions ``reader_Q``, read keys of interactions ``order_L``."""
        length, banks = order_L.numel(), 1 if alpha is None else 2
        intervals = [(low + i * length, high + i * length) for i in range(banks) for low, high in intervals]
        mask = block_mask_of(intervals, banks * length, self.device)
        if not biased and alpha is None:
            return _Plan(mask, None)
        reader_Q, order_L = (_table(x, self.device) for x in (reader_Q, order_L.repeat(banks)))
        slopes_H = sent(slopes_of(self.heads).float(), self.device) if biased else None
        return _Plan(mask, _score_mod(reader_Q, order_L, slopes_H, alpha))


def block_mask_of(intervals: list[Interval], keys: int, device: torch.device) -> BlockMask:
    """The mask of queries that read the union of disjoint intervals, as ``create_block_mask`` would give it.

    Args:
        keys: L; the keys and the queries fill whole blocks.
    """
    # A query whose interval is empty may give it an end before its start.
    tables = [(_table(low, device), _table(torch.maximum(low, high), device)) for low, high in intervals]
    pairs_RC = torch.stack([_pairs(low, high, keys // BLOCK) for low, high in tables]).sum(0)
    full_RC = pairs_RC == BLOCK * BLOCK
    partial, full = _listed((pairs_RC > 0) & ~full_RC), _listed(full_RC)
    mask_mod = or_masks(*(_inside(low, high) for low, high in tables))
    lengths = (tables[0][0].numel(), keys)
    return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=BLOCK, mask_mod=mask_mod, seq_lengths=lengths)


def _pairs(low_Q: Tensor, high_Q: Tensor, columns: int) -> Tensor:
    """How many of its pairs each block holds, (R, C): those before the intervals' ends less those before their starts.

    What stands before a bound is all of the blocks before the bound's own, and a rest of its own.
    """
    rows = low_Q.numel() // BLOCK
    row_Q = torch.arange(low_Q.numel(), device=low_Q.device) // BLOCK
    bounds, rests = low_Q.new_zeros(2, rows * (columns + 1)).unbind()
    for bound_Q, sign in ((high_Q, 1), (low_Q, -1)):
        spot_Q = row_Q * (columns + 1) + bound_Q // BLOCK
        bounds.index_add_(0, spot_Q, torch.full_like(bound_Q, sign))
        rests.index_add_(0, spot_Q, sign * (bound_Q % BLOCK))
    later_RC = bounds.view(rows, -1).flip(1).cumsum(1).flip(1)[:, 1:]
    return BLOCK * later_RC + rests.view(rows, -1)[:, :-1]


def _listed(chosen_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's number of chosen blocks, and its blocks, the chosen first; batch and heads share them."""
    order_RC = chosen_RC.int().argsort(dim=1, descending=True, stable=True)
    return chosen_RC.sum(1).int()[None, None], order_RC.int()[None, None]


def _inside(low_Q: Tensor, high_Q: Tensor) -> MaskMod:
    def inside(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return (low_Q[q] <= kv) & (kv < high_Q[q])

    return inside


def _score_mod(reader_Q: Tensor, order_L: Tensor, slopes_H: Tensor | None, alpha: Tensor | None) -> ScoreMod:
    """Distance weighs on the scores by ALiBi's slopes, by forgetting, or by both.

    All that is captured is a fixed tensor: numbers would compile anew for each value.
    """

    def distance(q: Tensor, kv: Tensor) -> Tensor:
        return (reader_Q[q] - order_L[kv]).clamp(min=0)

    def nearer(score: Tensor, b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        assert slopes_H is not None
        return score - slopes_H[h] * distance(q, kv)

    if alpha is None:
        return nearer
    kept_and_reset = torch.cat([torch.log1p(-alpha), alpha.log()]).clamp(min=FORGOTTEN).float().to(reader_Q.device)
    bank_L = _table(torch.tensor([0, alpha.numel()]).repeat_interleave(order_L.numel() // 2), reader_Q.device)
    furthest = _table(torch.tensor(alpha.numel() - 1), reader_Q.device)

    def forgetting(score: Tensor, b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return score + kept_and_reset[bank_L[kv] + torch.minimum(distance(q, kv), furthest)]

    def both(score: Tensor, b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return forgetting(nearer(score, b, h, q, kv), b, h, q, kv)

    return forgetting if slopes_H is None else both


def _whole(length: int) -> int:
    """``length`` and what is missing to whole blocks."""
    return length + -length % BLOCK


def _filled(x: Tensor, length: int) -> Tensor:
    """``x``, and zeros up to ``length``."""
    return F.pad(x, (0, length - x.numel()))


def _table(x: Tensor, device: torch.device) -> Tensor:
    """Integers as the kernel looks them up; ``FOREVER_NEAR`` becomes the largest, which is as near."""
    return sent(x.clamp(max=torch.iinfo(torch.int32).max).int(), device)
