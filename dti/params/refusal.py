"""Why a value is refused, in a line that names it."""

import re
from collections.abc import Mapping
from typing import Any

WORDS = {
    "greater_than_equal": "{input!r} is less than the minimum of {ge}",
    "greater_than": "{input!r} is less than or equal to the minimum of {gt}",
    "less_than_equal": "{input!r} is greater than the maximum of {le}",
    "less_than": "{input!r} is greater than or equal to the maximum of {lt}",
    "literal_error": "{input!r} is not one of [{expected}]",
    "const_error": "{expected} was expected",
    "string_pattern_mismatch": "{input!r} does not match {pattern!r}",
    "string_too_short": "{input!r} should be non-empty",
    "too_short": "{input!r} should be non-empty",
    "int_type": "{input!r} is not of type 'integer'",
    "float_type": "{input!r} is not of type 'number'",
    "bool_type": "{input!r} is not of type 'boolean'",
    "string_type": "{input!r} is not of type 'string'",
    "list_type": "{input!r} is not of type 'array'",
    "dict_type": "{input!r} is not of type 'object'",
    "model_type": "{input!r} is not of type 'object'",
}
"""Refusals by their kind, in the words of JSON Schema's validator, which speaks in the UI's form."""


def sentence(error: Mapping[str, Any]) -> str:
    """One line about one error of pydantic."""
    branch = r"constrained-|literal\[|list\[|int$"  # of a union, as pydantic names it
    place = ".".join(part for part in map(str, error["loc"]) if not re.match(branch, part))
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown parameter; remove it or correct its name"
    if error["type"] == "missing":
        return f"{place}: missing; params.yaml must give it a value"
    context = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
    single = error["type"] == "literal_error" and ", " not in str(context["expected"])
    if words := WORDS.get("const_error" if single else error["type"]):
        return f"{place}: {words.format(input=error['input'], **context)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(error["input"], Mapping) or not place else f" (given: {error['input']!r})"
    return f"{place}: {message}{given}" if place and not message.startswith(place) else message


def _plain(value: object) -> object:
    """A bound as a schema writes it (1, not 1.0), choices as a list (``'a', 'b'``, not ``'a' or 'b'``)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.replace(" or ", ", ") if isinstance(value, str) else value
