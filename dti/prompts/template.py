"""Templates that turn the fields of an item or a user into text.

A template is text with ``{field}`` places and nothing else: no format specs, no attribute access.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from dti.errors import DtiError

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Closing brackets belong to the field before a literal, opening ones to the field behind it.
_LITERAL = re.compile(r"([)\]]*)(.*?)([(\[]*)", re.DOTALL)


@dataclass(frozen=True)
class Field:
    """A field with the text that comes and goes with it.

    Attributes:
        name: the column.
        joiner: the text between it and the field on its left; empty for the first one.
        opening, closing: brackets that hug it.
    """

    name: str
    joiner: str
    opening: str
    closing: str


@dataclass(frozen=True)
class Template:
    """A parsed template: ``head``, fields, ``tail``.

    A missing field (null or blank) goes away with its own brackets and the text between it and its left neighbour; the
    first field that is shown needs nothing at its left. ``{title} ({year}), {genres}`` becomes ``Heat, Crime`` without
    a year, ``(1995), Crime`` without a title and ``Heat (1995)`` without genres. Without any field the text is empty.
    """

    head: str
    fields: tuple[Field, ...]
    tail: str

    @classmethod
    def parse(cls, text: str, columns: Collection[str], name: str) -> Self:
        """Parse ``text``; ``name`` is the parameter that errors speak of.

        Raises:
            DtiError: a brace is no ``{field}``, a field is no column, or there is no field at all.
        """
        literals, names = _PLACE.split(text)[::2], _PLACE.findall(text)
        if stray := re.search(r"[{}]", "".join(literals)):
            raise DtiError(f"{name}: {text!r} has a {stray[0]!r} that is no plain {{field}}")
        if unknown := [field for field in names if field not in columns]:
            raise DtiError(f"{name}: no field {unknown[0]!r}; there are {', '.join(sorted(columns))}")
        if not names:
            raise DtiError(f"{name}: {text!r} names no field; there are {', '.join(sorted(columns))}")
        closings, joiners, openings = zip(*(_literal_parts(literal) for literal in literals), strict=True)
        inner = ("", *joiners[1:-1])
        fields = tuple(Field(*parts) for parts in zip(names, inner, openings[:-1], closings[1:], strict=True))
        return cls(closings[0] + joiners[0], fields, joiners[-1] + openings[-1])

    def render(self, values: Mapping[str, str | None]) -> str:
        """The text of one item or user; runs of white space inside a value become one space."""
        text = ""
        for field in self.fields:
            if value := " ".join((values[field.name] or "").split()):
                text += (field.joiner if text else "") + field.opening + value + field.closing
        return self.head + text + self.tail if text else ""


def _literal_parts(literal: str) -> tuple[str, str, str]:
    match = _LITERAL.fullmatch(literal)
    assert match is not None
    return match[1], match[2], match[3]
