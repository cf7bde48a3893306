"""The texts that a served model reads: the bundle's items, and what requests bring.

Here requests become numbers. Texts have numbers in a catalogue; a new text gets one behind all others when a pass needs
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dti.errors import DtiError
from dti.prompts.beside import Asked
from dti.prompts.catalogue import Catalogue
from dti.prompts.row import Ints
from dti.prompts.template import Template
from dti.prompts.tokenizer import plain_encoder
from dti.serving.bundle import Bundle, fields_of
from dti.serving.requests import Fields, Request, refusal


@dataclass(frozen=True)
class Text:
    """The tokens of a text that is not in the bundle."""

    tokens: tuple[int, ...]


Key = int | Text
"""A text: its number in the bundle, or its tokens."""


@dataclass(frozen=True)
class Resolved:
    """A request whose ids have become texts.

    Attributes:
        context, labels: the last n interactions, and the label token behind each.
        candidates: the distinct candidates' texts.
        place: which of these each candidate of the request is.
        prefix: the text before the prompt; None for none.
    """

    context: list[Key]
    labels: list[int]
    candidates: list[Key]
    place: Ints
    prefix: Key | None


class Items:
    """The catalogue of a bundle, which grows by the texts that requests bring.

    Attributes:
        catalogue: all texts that have a number now.
        known: how many of them are the bundle's.
    """

    def __init__(self, bundle: Bundle) -> None:
        ids, tokens, offsets = bundle.items()
        self._number = {item: i for i, item in enumerate(ids.to_pylist())}
        self._bundle, self._record = bundle, bundle.record
        self._labels = _label_tokens(bundle)
        self._encode = plain_encoder(bundle.tokenizer)
        self._item = _template(bundle.manifest.item, "item")
        self._profile = _template(bundle.manifest.profile, "profile") if bundle.manifest.profile else None
        none, labels = np.empty(0, np.int64), np.array(list(self._labels.values()), np.int64)
        self._first = Catalogue.of(tokens, offsets, none.astype(np.int32), np.zeros(1, np.int64), labels)
        self.catalogue, self.known = self._first, self._first.items
        self._later: dict[Text, int] = {}

    def resolve(self, request: Request, name: str) -> Resolved:
        """Look a request's items, labels and profile up.

        Args:
            name: what errors call the request.

        Raises:
            DtiError: an item without text, a label that the model has no token for, or fields that it does not read.
        """
        try:
            new = self._texts(request.items)
            first = max(0, len(request.history) - self._record.sight.n)
            last = list(enumerate(request.history))[first:]
            distinct, place = distinct_of(request.candidates)
            return Resolved(
                context=[self._key(done.item_id, new, f"history[{i}].item_id") for i, done in last],
                labels=[self._label(done.label, f"history[{i}].label") for i, done in last],
                candidates=[self._key(item, new, f"candidates[{i}]") for item, i in distinct.items()],
                place=place,
                prefix=self._prefix(request.profile),
            )
        except _WrongError as error:
            raise DtiError(refusal(name, *error.args)) from None

    def length(self, key: Key) -> int:
        """Tokens of a text."""
        return int(self._first.length_X[key]) if isinstance(key, int) else len(key.tokens)

    @property
    def later_tokens(self) -> int:
        """Tokens of the texts that requests brought, with the labels behind them."""
        return self.catalogue.size - self._first.size

    def asked(self, resolved: Resolved, candidates: slice) -> Asked:
        """Some of a request's candidates in numbers; all its texts must have one."""
        numbers = [np.array(list(map(self._place, keys)), np.int64) for keys in self._parts(resolved, candidates)]
        prefix = -1 if resolved.prefix is None else self._place(resolved.prefix)
        return Asked(numbers[0], np.array(resolved.labels, np.int64), numbers[1], prefix)

    def missing(self, resolved: Resolved, candidates: slice) -> set[Text]:
        """The texts of some of a request's candidates, and of its context, that have no number yet."""
        context, some = self._parts(resolved, candidates)
        prefix = [] if resolved.prefix is None else [resolved.prefix]
        return {key for key in (*context, *some, *prefix) if isinstance(key, Text)} - self._later.keys()

    def add(self, texts: set[Text]) -> None:
        """Give new texts numbers behind all others."""
        new = sorted(texts, key=lambda text: text.tokens)
        count = self.catalogue.items
        self._later |= {text: count + i for i, text in enumerate(new)}
        tokens = np.array([token for text in new for token in text.tokens], np.int64)
        self.catalogue = self.catalogue.extended(tokens, np.array([len(text.tokens) for text in new], np.int64))

    def forget(self) -> None:
        """Take back the numbers of all texts that requests brought."""
        self.catalogue, self._later = self._first, {}

    def _parts(self, resolved: Resolved, candidates: slice) -> tuple[list[Key], list[Key]]:
        return resolved.context, resolved.candidates[candidates]

    def _place(self, key: Key) -> int:
        return key if isinstance(key, int) else self._later[key]

    def _key(self, item: str, new: Mapping[str, Text | None], place: str) -> Key:
        if (known := self._number.get(item)) is not None:
            return known
        if item not in new:
            raise _WrongError(place, f"item {item!r} is not in the catalogue; give its text fields in items")
        if (text := new[item]) is None:
            raise _WrongError(f"items.{item}", f"no text: all of {', '.join(self._item.names)} are empty or missing")
        return text

    def _texts(self, items: Mapping[str, Fields]) -> dict[str, Text | None]:
        """The texts of the items that the bundle does not know; None where they are empty."""
        unknown = {item: fields for item, fields in items.items() if item not in self._number}
        rendered = [self._item.render(fields, f"items.{item}") for item, fields in unknown.items()]
        tokens = map(self._cut, self._encode(rendered) if rendered else [])
        return {
            item: Text(cut or (self._record.tokens.empty,)) if text else None
            for item, text, cut in zip(unknown, rendered, tokens, strict=True)
        }

    def _label(self, label: float, place: str) -> int:
        token = self._labels.get(f"{label:g}")
        if token is None:
            raise _WrongError(place, f"{label:g} is none of {', '.join(self._labels)}")
        return token

    def _prefix(self, profile: Fields | None) -> Key | None:
        """The instruction, then the profile, as packing writes them."""
        if profile is not None and self._profile is None:
            raise _WrongError("profile", "this model reads no profiles; leave it out")
        text = self._profile.render(profile or {}, "profile") if self._profile else ""
        whole = f"{self._record.instruction} {text}".rstrip() if self._record.instruction else text
        tokens = self._cut(self._encode([whole])[0]) if whole else ()
        return Text(tokens) if tokens else None

    def _cut(self, tokens: Sequence[int]) -> tuple[int, ...]:
        return tuple(tokens[: self._bundle.manifest.max_item_tokens])


class _WrongError(Exception):
    """What is wrong with a request: the field, and why."""


@dataclass(frozen=True)
class _Template:
    """A template and the names of its fields."""

    parsed: Template
    names: list[str]

    def render(self, fields: Fields, place: str) -> str:
        if unknown := sorted(fields.keys() - set(self.names)):
            raise _WrongError(f"{place}.{unknown[0]}", f"unknown field; there are {', '.join(self.names)}")
        return self.parsed.render({name: fields.get(name) for name in self.names})


def distinct_of(candidates: Sequence[str]) -> tuple[dict[str, int], Ints]:
    """Each distinct candidate with its first place, and which of them each candidate is."""
    first: dict[str, int] = {}
    for i, item in enumerate(candidates):
        first.setdefault(item, i)
    number = {item: i for i, item in enumerate(first)}
    return first, np.array([number[item] for item in candidates], np.int64)


def _template(text: str, name: str) -> _Template:
    names = fields_of(text)
    return _Template(Template.parse(text, names, name), names)


def _label_tokens(bundle: Bundle) -> dict[str, int]:
    """The label token of each label that a history may have."""
    ids: Any = bundle.record.tokens
    return {"0": ids.no, "1": ids.yes} if bundle.record.context_labels == "binary" else dict(ids.ratings)
