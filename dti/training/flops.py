"""What training one target costs in floating-point operations: in closed form, and counted from rows.

A token costs ``6 N`` in full training and ``4 N`` with LoRA (N: weights of the matrices that it passes through; a
frozen matrix needs no gradient of its own). A pair of a query and a key that it reads costs ``12 W`` a layer (W the
width of all query heads): ``4 W`` forward for score and value, twice that backward, or as much again (``8 W`` in all)
where key and value are kept states, which get no gradient. A probe passes through all L layers; content through all but
the last, of which only its keys and values are computed, as nobody reads the rest.
Embeddings, the two-row head, norms, softmax, the adapter's own matrices and the optimiser are left out. A kernel that
computes pairs only to mask them does more.

n: the context; k: targets of a prompt; c: content tokens of an interaction, of which c - 1 are text and one its label.
Users are taken to have n interactions before each prompt; profiles are left out.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from dti.attention.visibility import Sight, view_of
from dti.prompts.row import Row
from dti.prompts.store import Targets

Tuning = Literal["full", "lora"]


@dataclass(frozen=True)
class Shape:
    """A Llama's shape; ``vocabulary`` None is the store's (two rows of the head alone are ever computed)."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int | None = None

    @classmethod
    def of(cls, config: Any) -> Self:
        """The shape that a Hugging Face configuration names."""
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            config.intermediate_size,
            config.vocab_size,
        )

    @property
    def weights(self) -> int:
        """Weights of the decoder's matrices, which a probe passes through."""
        return self.layers * self._layer

    @property
    def content_weights(self) -> int:
        """Weights that content passes through: all layers but the last, and that one's keys and values."""
        return (self.layers - 1) * self._layer + self._keys_and_values

    @property
    def _layer(self) -> int:
        return 2 * self.width**2 + self._keys_and_values + 3 * self.width * self.ffn

    @property
    def _keys_and_values(self) -> int:
        return 2 * self.width**2 * self.kv_heads // self.heads


@dataclass(frozen=True)
class Work:
    """Tokens, and pairs of a query and a key that it reads; those of content and those of probes.

    ``kept_pairs`` are those of probes with kept states.
    """

    content: float = 0
    content_pairs: float = 0
    probes: float = 0
    probe_pairs: float = 0
    kept_pairs: float = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def tokens(self) -> float:
        """All tokens."""
        return self.content + self.probes

    @property
    def pairs(self) -> float:
        """All pairs."""
        return self.content_pairs + self.probe_pairs + self.kept_pairs

    def flops(self, shape: Shape, tuning: Tuning) -> float:
        """``(6 or 4) N tokens + (12 or 8) W pairs`` over the layers that content and probes pass through."""
        linear = shape.weights * self.probes + shape.content_weights * self.content
        read = 12 * (shape.layers * self.probe_pairs + (shape.layers - 1) * self.content_pairs)
        read += 8 * shape.layers * self.kept_pairs
        return (6 if tuning == "full" else 4) * linear + shape.width * read


def probe(n: int, c: float, context: str) -> Work:
    """A probe, which reads the context's tokens (``n c``) or labels (``n``), its item's text, and itself."""
    return Work(probes=1, probe_pairs=n * (c if context == "all" else 1) + (c - 1) + 1)


def window(n: int, k: Targets, c: float, context: str) -> Work:
    """A prompt of n + k interactions whose content reads n interactions back, and its own causally; per target.

    Tokens: ``((n + k) c - 1) / k + 1``; nobody reads the last label, and it is left out. Pairs of content, with
    ``m = n + k - 1``: ``(sum over i = 0 .. m of min(i, n) c^2 + c (c + 1) / 2) - (n + 1) c``, over k; the last term is
    the missing label's. For k = all, the limit of long histories: ``c + 1`` tokens and ``n c^2 + c (c + 1) / 2`` pairs.
    """
    own, reading = c * (c + 1) / 2, probe(n, c, context)
    if k == "all":
        return Work(c, n * c**2 + own) + reading
    reached = n * (n - 1) / 2 + k * n  # the sum of min(i, n)
    pairs = reached * c**2 + (n + k) * own - (n + 1) * c
    return Work(((n + k) * c - 1) / k, pairs / k) + reading


def isolated(n: int, k: Targets, c: float, context: str) -> Work:
    """The same prompt where content reads its own interaction alone; per target.

    Pairs of content: ``((n + k) c (c + 1) / 2 - c) / k``; for k = all ``c (c + 1) / 2``.
    """
    own, reading = c * (c + 1) / 2, probe(n, c, context)
    if k == "all":
        return Work(c, own) + reading
    return Work(((n + k) * c - 1) / k, ((n + k) * own - c) / k) + reading


def unique(n: int, c: float, context: str, distinct: float, labels: float) -> Work:
    """Each distinct item of a step encoded once; per target.

    Tokens: ``d (c - 1 + a) + 1``. Pairs of content: ``d ((c - 1) c / 2 + a c)``: a label reads its text and itself.

    Args:
        distinct: d, distinct items per target of the step.
        labels: a, the label tokens behind each.
    """
    content = Work(distinct * (c - 1 + labels), distinct * ((c - 1) * c / 2 + labels * c))
    return content + probe(n, c, context)


def frozen(n: int, c: float, context: str) -> Work:
    """Content whose states are kept: the probe alone; per target. All but its own key are kept states."""
    reading = probe(n, c, context)
    return Work(probes=reading.probes, probe_pairs=reading.probes, kept_pairs=reading.probe_pairs - reading.probes)


def counted(row: Row, sight: Sight) -> Work:
    """The tokens and pairs that training on a row takes, counted from what each token may read."""
    view = view_of(row, sight)
    among = view.probes * (view.probe_tokens + 1) // 2
    pairs = sum(int((s.high_K - s.low_K).clamp(min=0).sum()) for s in view.segments)
    if sight.content == "frozen":
        return Work(probes=view.probes, probe_pairs=among, kept_pairs=pairs)
    reading = Work(probes=view.probes, probe_pairs=pairs + among)
    return Work(view.content, int((view.stop_S - view.start_S).clamp(min=0).sum()) + view.content) + reading
