"""Sums over pairs of a probe token and a key of its own, piece by piece, so that each piece stays in a CPU's cache.

What a pass holds for all pairs at once is far larger than a cache where it has thousands of targets, and moving it to
and from memory takes most of the time (docs/log.md). The same numbers to the bit; the backward pass gathers again what
the forward pass gathered, and keeps nothing of it.

Shape suffixes: N pairs, Q probe tokens, S keys, G key/value heads, X query heads that share one (H = G X), D size of a
head, C pairs of a piece.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

PIECE_BYTES = 2**19
"""Of the gathered rows of a piece: a part of what a core's own cache holds."""


class Pairs(NamedTuple):
    """Who reads what: the probe token, ascending, and the place of the key of each pair, both (N,)."""

    probe_N: Tensor
    keys_N: Tensor

    def pieces(self, width: int, itemsize: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The pairs in order; on a GPU all at once.

        Args:
            width, itemsize: numbers of a gathered row, and bytes of each.
        """
        count = self.keys_N.numel()
        size = count if self.keys_N.is_cuda else PIECE_BYTES // (width * itemsize)
        for low in range(0, count, max(size, 1)):
            piece = slice(low, low + max(size, 1))
            yield piece, self.probe_N[piece], self.keys_N[piece]


def pair_scores(q_QGXD: Tensor, k_SGD: Tensor, pairs: Pairs) -> Tensor:
    """The product of each pair's query and key, at least float32, (N, G, X); differentiable."""
    found: Tensor = _Scores.apply(q_QGXD.contiguous(), k_SGD.contiguous(), pairs)
    return found


def pair_sums(weight_NGX: Tensor, v_SGD: Tensor, pairs: Pairs, readers: int) -> Tensor:
    """The weighted sum of the values that each of Q ``readers`` reads, (Q, G, X, D); differentiable."""
    found: Tensor = _Sums.apply(weight_NGX, v_SGD.contiguous(), pairs, readers)
    return found


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_QGXD: Tensor, k_SGD: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(q_QGXD, k_SGD, *pairs)
        return _products(q_QGXD, k_SGD, pairs)

    @staticmethod
    def backward(ctx: Any, d_NGX: Tensor) -> tuple[Tensor, Tensor, None]:
        q_QGXD, k_SGD, *pairs = ctx.saved_tensors
        to_q = _to_probes(d_NGX, k_SGD, Pairs(*pairs), q_QGXD.shape[0])
        to_k = _to_keys(d_NGX, q_QGXD, Pairs(*pairs), k_SGD.shape[0])
        return to_q.to(q_QGXD.dtype), to_k.to(k_SGD.dtype), None


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_NGX: Tensor, v_SGD: Tensor, pairs: Pairs, readers: int) -> Tensor:
        ctx.save_for_backward(weight_NGX, v_SGD, *pairs)
        return _to_probes(weight_NGX, v_SGD, pairs, readers)

    @staticmethod
    def backward(ctx: Any, d_QGXD: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight_NGX, v_SGD, *pairs = ctx.saved_tensors
        to_weight = _products(d_QGXD, v_SGD, Pairs(*pairs))
        to_v = _to_keys(weight_NGX, d_QGXD, Pairs(*pairs), v_SGD.shape[0])
        return to_weight.to(weight_NGX.dtype), to_v.to(v_SGD.dtype), None, None


def _products(q_QGXD: Tensor, k_SGD: Tensor, pairs: Pairs) -> Tensor:
    heads, wide = q_QGXD.shape[1:], torch.promote_types(q_QGXD.dtype, torch.float32)
    q_QE, k_SF = _table(q_QGXD), _table(k_SGD)
    found = q_QE.new_empty(pairs.keys_N.numel(), *heads[:2], dtype=wide)
    for piece, probe_C, keys_C in pairs.pieces(q_QE.shape[1], q_QE.element_size()):
        q_CGXD = q_QE.index_select(0, probe_C).unflatten(1, heads)
        k_CGXD = k_SF.index_select(0, keys_C).unflatten(1, (heads[0], 1, -1))
        torch.sum(q_CGXD * k_CGXD, -1, dtype=wide, out=found[piece])
    return found


def _to_probes(weight_NGX: Tensor, v_SGD: Tensor, pairs: Pairs, readers: int) -> Tensor:
    """Each pair's weight times its value, summed for its probe token, (Q, G, X, D)."""
    heads, v_SF = weight_NGX.shape[1:], _table(v_SGD)
    width, dtype = heads[1] * v_SF.shape[1], torch.promote_types(weight_NGX.dtype, v_SF.dtype)
    found = v_SF.new_zeros(readers, width, dtype=dtype)
    for piece, probe_C, keys_C in pairs.pieces(width, v_SF.element_size()):
        v_CGXD = v_SF.index_select(0, keys_C).unflatten(1, (heads[0], 1, -1))
        found.index_add_(0, probe_C, (weight_NGX[piece, ..., None] * v_CGXD).flatten(1))
    return found.unflatten(1, (*heads, -1))


def _to_keys(weight_NGX: Tensor, x_QGXD: Tensor, pairs: Pairs, keys: int) -> Tensor:
    """Each pair's weight times its probe token's row, summed for its key, (S, G, D)."""
    groups, shared, size = x_QGXD.shape[1:]
    x_QE, dtype = _table(x_QGXD), torch.promote_types(weight_NGX.dtype, x_QGXD.dtype)
    found = x_QE.new_zeros(keys, groups * size, dtype=dtype)
    for piece, probe_C, keys_C in pairs.pieces(x_QE.shape[1], x_QE.element_size()):
        x_CGXD = weight_NGX[piece, ..., None] * x_QE.index_select(0, probe_C).unflatten(1, (groups, shared, size))
        found.index_add_(0, keys_C, (x_CGXD[:, :, 0] if shared == 1 else x_CGXD.sum(2)).flatten(1))
    return found.unflatten(1, (groups, size))


def _table(x: Tensor) -> Tensor:
    """A contiguous row for each probe token or key: rows are gathered and added several times as fast so."""
    return x.flatten(1).contiguous()
