"""Tokenizers: the project's own small BPE (backbone ``tiny``) or that of a Hugging Face model."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dti.errors import DtiError
from dti.progress import Progress
from dti.prompts.gguf_file import find_gguf, read_header
from dti.prompts.row import Ints
from dti.prompts.store import TokenIds

_NAMED = {"pad": "[PAD]", "empty": "[UNK]", "sum": "[SUM]", "no": "[NO]", "yes": "[YES]"}
_ITEM = "[ITEM {} {}]"  # data set and id
# A token that a model's makers set aside, else one of their markers for source code, which recommendation never uses.
_SPARE = (
    re.compile(r"(<\|?|\[)(reserved|unused|extra|placeholder)[a-z_ -]*\d*(\|?>|\])", re.IGNORECASE),
    re.compile(r"<\|?(fim_pad|repo_name|reponame|file_sep)\|?>"),
)
_CHUNK = 10_000


@dataclass(frozen=True)
class Texts:
    """Encoded texts.

    Attributes:
        tokens: int32, one text after another.
        offsets: one more than texts; text i is ``tokens[offsets[i] : offsets[i + 1]]``.
        cut: how many texts were longer than the limit.
        empty: how many texts had no token.
        own: how many texts stand behind a token of their own.
    """

    tokens: NDArray[np.int32]
    offsets: Ints
    cut: int
    empty: int
    own: int = 0

    @classmethod
    def none(cls, count: int) -> Self:
        """``count`` texts without any token."""
        return cls(np.empty(0, np.int32), np.zeros(count + 1, np.int64), 0, 0)

    def behind(self, first_N: Ints) -> Self:
        """Each text behind a token of its own, its entry in ``first_N``; -1 leaves a text as it is."""
        more_N = first_N >= 0
        tokens = np.insert(self.tokens, self.offsets[:-1][more_N], first_N[more_N].astype(np.int32))
        offsets = self.offsets + np.append(0, np.cumsum(more_N))
        return replace(self, tokens=tokens, offsets=offsets, own=int(more_N.sum()))


def train_tiny(texts: Iterable[str], vocabulary: int, ratings: Sequence[str]) -> Any:
    """A byte-level BPE over words (split at white space), trained on ``texts``; it can encode any text.

    Punctuation stays with its word: on MovieLens titles and genres a quarter fewer tokens than GPT-2's splitting.
    The same texts in the same order give the same tokenizer.

    Raises:
        DtiError: the vocabulary has no room for the bytes and the special tokens.
    """
    special = [*_NAMED.values(), *(f"[{rating}]" for rating in ratings)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(special) + len(alphabet)
    if vocabulary < least:
        raise DtiError(f"model.tiny.vocabulary: {vocabulary} is too small for bytes and special tokens; set >= {least}")
    tokenizer = Tokenizer(models.BPE())
    words = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_NAMED["pad"], unk_token=_NAMED["empty"])


def add_item_tokens(tokenizer: Any, dataset: str, ids: Iterable[str]) -> None:
    """Give these items of a data set tokens of their own (ours), to learn what texts do not say.

    A token costs a row of the embedding and a line of tokenizer.json, which is read slowly where there are very many.
    """
    tokenizer.add_tokens([_ITEM.format(dataset, item) for item in ids], special_tokens=True)


def item_tokens(tokenizer: Any, dataset: str, ids: Iterable[str]) -> Ints:
    """The own token of each item of a data set; -1 for none."""
    vocabulary = tokenizer.get_vocab()
    return np.array([vocabulary.get(_ITEM.format(dataset, item), -1) for item in ids], np.int64)


def locate(backbone: str, revision: str | None) -> dict[str, Any]:
    """The arguments of ``from_pretrained`` that say where a backbone is: a folder, a GGUF file, or a hub id.

    A name that looks like a path but is no folder is refused, before anybody takes it for a hub id.

    Raises:
        DtiError: there is no such folder or file, or the GGUF file is of no supported kind.
    """
    file = find_gguf(backbone)
    if file:
        read_header(file)
        return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    folder = Path(backbone)
    if not folder.is_dir() and (folder.is_absolute() or backbone.startswith((".", "~")) or backbone.count("/") > 1):
        raise DtiError(f"model.backbone: no folder {backbone}; give an absolute or relative path, or a hub id")
    return {"pretrained_model_name_or_path": backbone, "revision": revision or "main"}


def load_tokenizer(backbone: str, revision: str | None) -> Any:
    """The tokenizer of a local folder, a GGUF file or a hub id; never runs code that comes with a model.

    Raises:
        DtiError: no such folder, file or model, or it has no fast tokenizer.
    """
    place = locate(backbone, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        where = "in that folder" if Path(backbone).is_dir() else "under that hub id (and no such local folder)"
        where = "in that file" if "gguf_file" in place else where
        raise DtiError(f"model.backbone: {backbone}: no usable tokenizer {where}: {error}") from error
    if not tokenizer.is_fast:
        raise DtiError(f"model.backbone: {backbone} has no fast tokenizer (tokenizer.json), which packing needs")
    return tokenizer


def named_ids(tokenizer: Any, ratings: Sequence[str]) -> TokenIds:
    """The token ids of a tokenizer made by ``train_tiny``.

    Raises:
        DtiError: it was made for other ratings than the data has.
    """
    vocabulary = tokenizer.get_vocab()
    if missing := [rating for rating in ratings if f"[{rating}]" not in vocabulary]:
        raise DtiError(f"train.init_from: its tokenizer has no token for the rating {missing[0]} of the data")
    ids = {role: vocabulary[token] for role, token in _NAMED.items()}
    return TokenIds(**ids, ratings={rating: vocabulary[f"[{rating}]"] for rating in ratings})


def found_ids(tokenizer: Any, ratings: Sequence[str]) -> TokenIds:
    """The token ids of a pretrained tokenizer, without adding any token.

    Labels are the words No and Yes, ratings their digits; the probe is the first token that the tokenizer's makers set
    aside (``<|reserved_special_token_0|>``, ``<unused0>``), else a marker for source code (``<|fim_pad|>``,
    ``<repo_name>``); an item without text is the unknown token, else the end of text.

    Raises:
        DtiError: a label or rating is no single token, or there is no token to spare.
    """
    no, yes = _single_tokens(tokenizer, ["No", "Yes"], "labels")
    levels = dict(zip(ratings, _single_tokens(tokenizer, ratings, "pack.context_labels rating"), strict=True))
    empty = _first(tokenizer.unk_token_id, tokenizer.eos_token_id)
    pad = _first(tokenizer.pad_token_id, tokenizer.eos_token_id, empty)
    if empty is None or pad is None:
        raise DtiError("model.backbone: its tokenizer has neither an unknown token nor an end of text")
    return TokenIds(no=no, yes=yes, sum=_spare_token(tokenizer), pad=pad, empty=empty, ratings=levels)


def encode_texts(tokenizer: Any, texts: Sequence[str], limit: int, empty: int | None, what: str) -> Texts:
    """Encode texts, each cut to ``limit`` tokens; one without tokens becomes ``[empty]``, or stays so with None.

    A special token's name inside a text is text: no title can forge a label.
    """
    pieces: list[list[int]] = []
    cut = bare = 0
    encode = plain_encoder(tokenizer)
    with Progress(what, len(texts), "texts") as progress:
        for start in range(0, len(texts), _CHUNK):
            chunk = encode(texts[start : start + _CHUNK])
            cut += sum(len(tokens) > limit for tokens in chunk)
            bare += sum(not tokens for tokens in chunk)
            pieces += [tokens[:limit] or ([] if empty is None else [empty]) for tokens in chunk]
            progress.advance(len(chunk))
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    tokens = np.fromiter((token for piece in pieces for token in piece), np.int32, offsets[-1])
    return Texts(tokens, offsets, cut, bare)


def plain_encoder(tokenizer: Any) -> Callable[[Sequence[str]], list[list[int]]]:
    """A function that turns texts into tokens and adds none of its own."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return lambda texts: [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]


def _first(*candidates: int | None) -> int | None:
    return next((candidate for candidate in candidates if candidate is not None), None)


def _single_tokens(tokenizer: Any, words: Sequence[str], what: str) -> list[int]:
    """One token per word, all with a space before it or all without."""
    encode = plain_encoder(tokenizer)
    for form in (" {}", "{}"):
        tokens = encode([form.format(word) for word in words])
        if all(len(ids) == 1 for ids in tokens) and len({ids[0] for ids in tokens}) == len(words):
            return [ids[0] for ids in tokens]
    raise DtiError(
        f"model.backbone: {what}: its tokenizer has no single token for each of {', '.join(words)}, "
        "with or without a space before it; choose another backbone or pack.context_labels"
    )


def _spare_token(tokenizer: Any) -> int:
    vocabulary = tokenizer.get_vocab()
    for pattern in _SPARE:
        if found := [token for name, token in vocabulary.items() if pattern.fullmatch(name)]:
            return int(min(found))
    raise DtiError(
        "model.backbone: its tokenizer has no reserved or unused token that could be the probe [SUM]; add one named "
        "<|reserved_special_token_0|> to tokenizer and embeddings, save both in a folder, and name that folder"
    )
