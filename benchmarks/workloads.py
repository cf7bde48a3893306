"""What the paradigms are measured on: sizes of models with random weights, and a store of ml-1m's shape."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from dti.prompts.row import Ints
from dti.prompts.store import FORMAT, Counts, Meta, Shard, Store, TokenIds
from dti.training.flops import Shape

SIZES = {
    "tiny": Shape(4, 128, 4, 4, 512),
    "135m": Shape(30, 576, 9, 3, 1_536, 49_152),
    "1b": Shape(16, 2_048, 32, 8, 8_192),
    "8b": Shape(32, 4_096, 32, 8, 14_336),
}
"""1b and 8b keep the store's vocabulary: under LoRA a table of embeddings is looked up and nothing else."""

ITEMS, USERS = 3_883, 1_000
"""ml-1m's items; fewer than its 6,040 users, as no step sees more of them."""
TEXT = 7.7
"""Mean tokens of an item's text, as ml-1m's titles and genres have with the tiny tokenizer; a label follows."""
TOKENS = TokenIds(no=3, yes=4, sum=2, pad=0, empty=1)
SPECIAL, VOCABULARY = 5, 4_096


def model_of(shape: Shape, store: Store, device: torch.device) -> PreTrainedModel:
    """A Llama with random weights, made on its device; its table holds at least the store's tokens."""
    config = LlamaConfig(
        vocab_size=max(shape.vocabulary or 0, store.meta.vocabulary),
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=True,
        pad_token_id=store.meta.tokens.pad,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    torch.manual_seed(1)
    with device:
        return LlamaForCausalLM(config)


def synthetic_store(n: int, users: int = USERS, items: int = ITEMS, seed: int = 1) -> Store:
    """A store in memory with the shape of ml-1m: history lengths, item popularity, lengths of texts; no repeats.

    Every interaction with at least five before it is a training target. Texts and clicks are random: speed does not
    depend on them.
    """
    rng = np.random.default_rng(seed)
    text_N = np.clip(1 + rng.poisson(TEXT - 1, items), 1, 24)
    length_U = np.minimum(_lengths(rng, users), items)
    # Ranks fall off as ml-1m's ratings do: the most popular item has 0.3 % of them.
    weight_N = np.log((np.arange(items) + 220.0) ** -1.6)
    item_R = np.concatenate([_drawn(rng, weight_N, length) for length in length_U])
    shard = shard_of(item_R, rng.integers(0, 2, item_R.size), length_U, TOKENS)
    train = int((shard.order >= 5).sum())
    counts = Counts(users, items, item_R.size, int(shard.label.sum()), item_R.size - train, train, 0, 0, train)
    return Store(
        folder=Path(),
        meta=_meta(n, counts),
        shards=[shard],
        item_ids=pa.array([f"i{i}" for i in range(items)]),
        item_tokens=rng.integers(SPECIAL, VOCABULARY, text_N.sum(), dtype=np.int32),
        item_offsets=np.append(0, np.cumsum(text_N)),
        user_ids=pa.array([f"u{u}" for u in range(users)]),
        profile_tokens=np.empty(0, np.int32),
        profile_offsets=np.zeros(users + 1, np.int64),
    )


def shard_of(item_R: NDArray[Any], label_R: NDArray[Any], length_U: Sequence[int] | Ints, tokens: TokenIds) -> Shard:
    """One shard of the given users' histories; a user's first five interactions are context, the others train."""
    lengths = np.asarray(length_U)
    order_R = np.arange(item_R.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Shard(
        user=np.repeat(np.arange(lengths.size, dtype=np.int32), lengths),
        item=item_R.astype(np.int32),
        label=label_R.astype(np.int8),
        context_label=np.where(label_R == 1, tokens.yes, tokens.no).astype(np.int32),
        timestamp=1_000_000_000 + 60 * order_R,
        order=order_R.astype(np.int32),
        split=(order_R >= 5).astype(np.int8),
    )


def one_user(store: Store, interactions: int) -> Store:
    """The same store with a single user whose history has this many interactions, the store's first ones."""
    first = store.shards[0]
    drawn = np.arange(interactions) % len(first)
    shard = shard_of(first.item[drawn], first.label[drawn], [interactions], store.meta.tokens)
    return replace(store, shards=[replace(shard, context_label=first.context_label[drawn])])


def content_per_interaction(store: Store) -> float:
    """c: mean content tokens of an interaction, its label included."""
    return float(sum(sums[-1] for sums in store.content_before) / sum(len(shard) for shard in store.shards))


def _lengths(rng: np.random.Generator, users: int) -> Ints:
    """ml-1m's history lengths: at least 20, median about 96, mean about 166, at most 2,314."""
    tail = rng.lognormal(np.log(76), np.sqrt(2 * np.log(146 / 76)), users)
    return np.minimum(20 + tail.astype(np.int64), 2_314)


def _drawn(rng: np.random.Generator, weight_N: NDArray[np.float64], count: int) -> Ints:
    """Distinct items by their logarithmic weights, in random order (the largest of Gumbel-noised weights)."""
    noised = weight_N + rng.gumbel(size=weight_N.size)
    return rng.permutation(np.argpartition(-noised, count - 1)[:count])


def _meta(n: int, counts: Counts) -> Meta:
    return Meta(
        format=FORMAT,
        dataset="synthetic",
        title="Synthetic, shaped like ml-1m",
        sha256="0" * 64,
        official=False,
        n=n,
        k="all",
        context_labels="binary",
        profile=False,
        backbone="tiny",
        revision=None,
        max_item_tokens=64,
        vocabulary=VOCABULARY,
        tokens=TOKENS,
        counts=counts,
        digest="synthetic",
    )
