"""The parameters of a run: params.yaml as it stands, with what a form gives."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dti.params import load_params


def read_values(root: Path) -> dict[str, Any]:
    """The content of the project's params.yaml.

    Raises:
        DtiError: it is missing, no YAML, or wrong by itself.
    """
    path = root / "params.yaml"
    load_params(path)
    return dict(yaml.safe_load(path.read_text()))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters ``base`` with what the form gives: sections are merged, values replaced; nothing is judged."""
    result = copy.deepcopy(dict(base))
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result
