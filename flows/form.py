"""The form in the UI, made from dti/params: every field optional, with its bounds, choices and help.

A form is a plain dictionary of what was filled in, so that an empty field (params.yaml holds) differs from null.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import WithJsonSchema

from dti.params import Params

Schema = dict[str, Any]


def _resolved(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    """The schema with every reference replaced by what it refers to."""
    if isinstance(schema, list):
        return [_resolved(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        there = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        schema = there | {name: value for name, value in schema.items() if name != "$ref"}
    return {name: _resolved(value, definitions) for name, value in schema.items()}


def _optional(schema: Schema, name: str, leaf: Callable[[Schema], Schema]) -> Schema:
    """A section without required fields, titled as params.yaml names it; ``leaf`` makes a field of a parameter."""
    if "properties" not in schema:
        return leaf(schema) | {"title": name}
    fields = {key: _optional(value, key, leaf) for key, value in schema["properties"].items()}
    kept = {key: value for key, value in schema.items() if key in ("type", "description", "additionalProperties")}
    return kept | {"title": name, "properties": fields}


def _schema(name: str, leaf: Callable[[Schema], Schema]) -> Schema:
    whole = Params.model_json_schema()
    return _optional(_resolved(whole, whole["$defs"]), name, leaf)


def _values(schema: Schema) -> Schema:
    """A list of values to try for a parameter."""
    words = {"description": schema["description"]} if "description" in schema else {}
    return {"type": "array", "minItems": 1, "items": schema, **words}


Form = Annotated[dict[str, Any], WithJsonSchema(_schema("params", dict))]
"""Values by section, ``{"pack": {"k": 5}}``."""

GridForm = Annotated[dict[str, Any], WithJsonSchema(_schema("over", _values))]
"""Lists of values by section, ``{"pack": {"k": [5, 50]}}``."""

EMPTY: dict[str, Any] = {}
"""What a form gives in which nothing was filled in."""
