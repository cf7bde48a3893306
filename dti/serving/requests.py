"""Requests as users write them, validated at the door: everything behind it may rely on their form.

What depends on the model (which items it knows, which labels its history has) is checked where requests become numbers,
in ``items.py``, with the same kind of message.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dti.errors import DtiError

CANDIDATES = 10_000
"""The most candidates of one request."""
LONGEST = 10_000
"""Characters of a text field, and of an id, at most; what is longer is a mistake, no text of an item."""
SHOWN = 5

Id = Annotated[str, Field(min_length=1, max_length=LONGEST)]
Fields = dict[str, Annotated[str, Field(max_length=LONGEST)] | None]


class Part(BaseModel):
    """A part of a request: unknown keys, missing keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Interaction(Part):
    """One interaction of a user's history.

    Attributes:
        label: 0 or 1; the rating, where the model was trained with ratings as context labels.
    """

    item_id: Id
    label: float = Field(allow_inf_nan=False)


class Request(Part):
    """A user's history and the candidates to score.

    Attributes:
        history: oldest first, of any length; the last n count. Empty: a user of whom nothing is known.
        candidates: 1 to 10,000 item ids; one that occurs twice is scored alike.
        items: text fields of items that the catalogue does not know; one that it knows keeps the catalogue's text.
        profile: the user's profile fields, where the model reads profiles; None: nothing is known.
    """

    history: list[Interaction]
    candidates: list[Id] = Field(min_length=1, max_length=CANDIDATES)
    items: dict[Id, Fields] = Field(default_factory=dict)
    profile: Fields | None = None


_REQUESTS = TypeAdapter(list[Request])


def parse_requests(content: Sequence[Request | Mapping[str, Any]], names: Sequence[str] | None = None) -> list[Request]:
    """Validate requests.

    Args:
        names: what errors call each; None: ``request 0`` and so on.

    Raises:
        DtiError: names each request and each field that is wrong (the first five).
    """
    try:
        return _REQUESTS.validate_python(content)
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise DtiError("; ".join([*(_sentence(one, names) for one in found[:SHOWN]), *more])) from None


def name_of(number: int, names: Sequence[str] | None) -> str:
    """What errors call a request."""
    return names[number] if names else f"request {number}"


def _sentence(error: Mapping[str, Any], names: Sequence[str] | None) -> str:
    if not error["loc"]:
        return "the input must be a list of requests"
    number, *path = error["loc"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    words = {
        "extra_forbidden": "unknown key; remove it or correct its name",
        "missing": "missing",
        "model_type": "must be an object",
    }
    message = words.get(str(error["type"]), str(error["msg"]))
    return refusal(name_of(int(number), names), place, message)


def refusal(name: str, place: str, message: str) -> str:
    """The words that say what is wrong with a request, and where in it."""
    return f"{name}: {place}: {message}" if place else f"{name}: {message}"
