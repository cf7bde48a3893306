"""params.yaml: read, validated at the door, flattened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dti.errors import DtiError
from dti.params.refusal import sentence
from dti.params.whole import Params

NO_MATTER = ("track.", "promote.", "workers.", "train.checkpoint_seconds")
"""Beginnings of the dotted names of parameters that change no result of a run."""


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def parse_params(content: object, name: str = "params.yaml") -> Params:
    """Validate the parsed content of a parameter file.

    Raises:
        DtiError: one line per wrong key, naming the key.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = "\n  ".join(dict.fromkeys(sentence(e) for e in error.errors()))
        raise DtiError(f"{name}:\n  {lines}") from None


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate params.yaml.

    Raises:
        DtiError: the file is missing, is no YAML, or a value is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run from the project's folder") from None
    except yaml.YAMLError as error:
        raise DtiError(f"{path}: no valid YAML: {error}") from None
    return parse_params(content, str(path))
