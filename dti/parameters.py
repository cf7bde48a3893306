"""`python -m dti parameters`: every parameter with its type, bounds, choices, value and help, as Markdown."""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dti.files import atomic_file
from dti.params import Params, load_params

FILE = Path("docs/parameters.md")
HEAD = """# Parameters

Every parameter of [params.yaml](../params.yaml), from [dti/params](../dti/params). This file is written by
`python -m dti parameters --write`, and a test compares it with both; do not edit it. All parameters must be given,
`null` where nothing is meant, unless a default is named. A wrong type, a value out of bounds, an unknown name and a
combination without meaning stop before any work, with the name of the parameter. Change one in params.yaml, or for one
experiment, `dvc exp run -S pack.k=1`.
"""
TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
ABSENT = object()

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A parameter: dotted name, type, what is allowed, value in params.yaml, help."""

    name: str
    type: str
    allowed: str
    value: str
    help: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the text goes."""
    parser.add_argument("--write", action="store_true", help=f"write {FILE} instead of printing")


def run(arguments: argparse.Namespace) -> None:
    """Print the reference, or write it.

    Raises:
        DtiError: params.yaml is missing or wrong.
    """
    path = Path("params.yaml")
    load_params(path)
    text = reference(yaml.safe_load(path.read_text()))
    if not arguments.write:
        print(text, end="")
        return
    with atomic_file(FILE) as partial:
        partial.write_text(text, encoding="utf-8")
    print(FILE)


def reference(values: Mapping[str, Any]) -> str:
    """The reference for the parameters of ``values``, the content of params.yaml."""
    schema = Params.model_json_schema()
    parts = [HEAD]
    for section, part in schema["properties"].items():
        found = list(rows(section, part, values.get(section, ABSENT), schema["$defs"]))
        lines = [f"| `{r.name}` | {r.type} | {r.allowed} | {r.value} | {r.help} |" for r in found if r.name != section]
        about = [f"{r.help}\n" for r in found if r.name == section and r.help]
        head = ["| name | type | allowed | params.yaml | what it is |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {section}", *about, *head, *lines]) + "\n")
    return "\n".join(parts)


def rows(name: str, schema: Schema, value: Any, known: Schema) -> Iterator[Row]:
    """The rows of a parameter and, if it is a section or a table of sections, of what is in it.

    Args:
        value: what params.yaml gives; ``ABSENT`` where it gives nothing.
        known: the schemas that ``$ref`` names.
    """
    options = _options(schema, known)
    inner = next((option for option in options if "properties" in option), None)
    named = next((option["additionalProperties"] for option in options if _is_named(option)), None)
    kind = "section" if inner else "sections by name" if named else " or ".join(dict.fromkeys(map(_type, options)))
    shown = "" if value is ABSENT or inner or named else f"`{_code(_yaml(value))}`"
    yield Row(name, kind, _allowed(schema, options), shown, _text(schema.get("description", "")))
    if inner:
        given = value if isinstance(value, Mapping) else {}
        for key, part in inner["properties"].items():
            yield from rows(f"{name}.{key}", part, given.get(key, ABSENT), known)
    if named:
        yield from list(rows(f"{name}.NAME", named, ABSENT, known))[1:]


def _options(schema: Schema, known: Schema) -> list[Schema]:
    """The kinds of value that a parameter takes, references replaced by what they name."""
    if "$ref" in schema:
        return [known[schema["$ref"].rsplit("/", 1)[1]]]
    return [
        option
        for part in schema.get("anyOf", [schema])
        for option in ([part] if part is schema else _options(part, known))
    ]


def _is_named(option: Schema) -> bool:
    return isinstance(option.get("additionalProperties"), Mapping) and "$ref" in option["additionalProperties"]


def _type(option: Schema) -> str:
    if "enum" in option or "const" in option:
        return "choice"
    if option.get("type") == "array":
        return f"list of {_type(option.get('items', {}))}"
    return TYPES.get(option.get("type", ""), "values by name")


def _allowed(schema: Schema, options: list[Schema]) -> str:
    """Choices and bounds in words."""
    parts = []
    for option in options:
        choices = option.get("enum", [option["const"]] if "const" in option else [])
        parts += [", ".join(f"`{choice}`" for choice in choices)] if choices else []
        parts += [f"{sign} {option[key]:g}" for key, sign in BOUNDS.items() if key in option]
        parts += [f"matches `{_code(option['pattern'])}`"] if "pattern" in option else []
        parts += ["not empty"] if option.get("minLength") else []
    default = [f"default `{_code(_yaml(schema['default']))}`"] if "default" in schema else []
    return ", ".join([*parts, *default])


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    return text.replace("|", "\\|")


def _text(text: str) -> str:
    return _code(text).replace("<", "\\<").replace("*", "\\*")
