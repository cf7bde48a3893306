"""A grid file: which parameters a sweep tries, as cells of one run each.

A cell is a whole set of parameters. A configuration is a cell without its seed (``train.seed``).
"""

import copy
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dti.errors import DtiError
from dti.params import flatten, parse_params

SEED = "train.seed"
SLUG = 120  # characters of a file name, at most

Scalar = bool | int | float | str | None
Value = Scalar | list[Scalar]
Values = Annotated[list[Scalar], Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Group(_Entry):
    """Cells that share a name: the cross product of ``over``, each with the values of ``set``."""

    name: str = Field(min_length=1, description="what its cells' names begin with")
    set: dict[str, Value] = Field(default={}, description="dotted parameters of all of its cells")
    over: dict[str, Values] = Field(default={}, description="dotted parameters and the values to try")


class Grid(_Entry):
    """The content of a grid file."""

    name: str = Field(pattern=r"^\w[\w.-]*$", description="names the folder of workspaces and results")
    threads: int = Field(ge=1, description="threads of each cell's processes (OMP_NUM_THREADS)")
    baseline: str | None = Field(default=None, description="the group whose first configuration others are compared to")
    set: dict[str, Value] = Field(default={}, description="dotted parameters of all cells")
    over: dict[str, Values] = Field(default={}, description="dotted parameters that multiply the cells of all groups")
    groups: list[Group] = Field(min_length=1, description="the groups, in the order of the table")


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        group: its group's name.
        configuration: its name without the seed.
        seed: ``train.seed``.
        changes: the dotted parameters that the grid sets.
        parameters: the whole content of its params.yaml.
    """

    group: str
    configuration: str
    seed: int
    changes: Mapping[str, Value]
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The configuration and the seed."""
        return f"{self.configuration} seed={self.seed}"

    @property
    def slug(self) -> str:
        """The name as a file name."""
        slug = re.sub(r"[^a-z0-9._=-]+", "-", self.name.lower()).lstrip(".-")
        return slug if len(slug) <= SLUG else f"{slug[: SLUG - 9]}-{sha256(self.name.encode()).hexdigest()[:8]}"


def filled(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with environment variables put in: results then name ``$MODELS/x`` and no place of one machine.

    Raises:
        DtiError: a variable is not set.
    """
    full: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            full[key] = filled(value)
            continue
        full[key] = os.path.expandvars(value) if isinstance(value, str) else value
        if isinstance(value, str) and (unset := re.search(r"\$\{?[A-Za-z_]\w*\}?", full[key])):
            raise DtiError(f"{key}: {value!r}: the environment variable {unset[0]} is not set")
    return full


def without(parameters: Mapping[str, Any], *names: str) -> str:
    """A key that equal parameters share, whatever these dotted ones are."""
    return json.dumps({k: v for k, v in flatten(parameters).items() if k not in names}, sort_keys=True)


def load_grid(path: Path) -> Grid:
    """Read and validate a grid file.

    Raises:
        DtiError: it is missing, no YAML, or has an unknown, missing or wrong key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; name a grid file") from None
    except yaml.YAMLError as error:
        raise DtiError(f"{path}: no valid YAML: {error}") from None
    return parse_grid(content, str(path))


def parse_grid(content: object, file: str) -> Grid:
    """Validate the content of a grid file.

    Args:
        file: what messages call it.

    Raises:
        DtiError: it has an unknown, missing or wrong key.
    """
    try:
        grid = Grid.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(f"{'.'.join(map(str, e['loc'][:4]))}: {e['msg']}" for e in error.errors())
        raise DtiError("\n  ".join([f"{file}:", *lines])) from None
    names = [group.name for group in grid.groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DtiError(f"{file}: two groups are called {', '.join(twice)}; give each a name of its own")
    if grid.baseline is not None and grid.baseline not in names:
        raise DtiError(f"{file}: baseline: no group {grid.baseline!r}; there are {', '.join(names)}")
    return grid


def expand(grid: Grid, base: Mapping[str, Any], file: str = "the grid") -> list[Cell]:
    """All cells, in the order of the file.

    Args:
        base: the content of the project's params.yaml.
        file: what messages call the grid.

    Raises:
        DtiError: names all unknown parameters, all cells with wrong parameters, or all cells that are there twice.
    """
    _refuse(file, _unknown(grid, flatten(base)))
    cells = [cell for group in grid.groups for cell in _cells(grid, group, base)]
    _refuse(file, _wrong(cells))
    _refuse(file, _twice(cells))
    return cells


def _refuse(file: str, faults: Iterable[str]) -> None:
    lines = list(dict.fromkeys(faults))
    if lines:
        raise DtiError("\n  ".join([f"{file}:", *lines]))


def _unknown(grid: Grid, known: Mapping[str, Any]) -> Iterable[str]:
    """Keys that are no parameter, and keys of a group that are said twice."""
    places = {"set": list(grid.set), "over": list(grid.over)}
    places |= {f"group {group.name!r}": [*group.set, *group.over] for group in grid.groups}
    for place, names in places.items():
        for name in names:
            if name not in known:
                yield f"{place}: params.yaml has no parameter {name!r}"
    for name in sorted(set(grid.set) & set(grid.over)):
        yield f"{name} is given twice; give it in `set` or in `over`"
    for group in grid.groups:
        for name in sorted((set(group.set) & set(group.over)) | (set(grid.over) & {*group.set, *group.over})):
            yield f"group {group.name!r}: {name} is given twice; give it in one `set` or `over` of the group or of all"


def _cells(grid: Grid, group: Group, base: Mapping[str, Any]) -> Iterable[Cell]:
    over = {**group.over, **grid.over}
    labels = _labels([name for name in over if name != SEED])
    for values in product(*over.values()):
        chosen = dict(zip(over, values, strict=True))
        changes = {**grid.set, **group.set, **chosen}
        parameters = _changed(base, changes)
        words = [f"{label}={_word(chosen[name])}" for name, label in labels.items()]
        yield Cell(group.name, " ".join([group.name, *words]), parameters["train"]["seed"], changes, parameters)


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Each dotted name's last part, or all of it where two would be called the same."""
    last = {name: name.rsplit(".", 1)[-1] for name in names}
    return {name: short if list(last.values()).count(short) == 1 else name for name, short in last.items()}


def _word(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _changed(base: Mapping[str, Any], changes: Mapping[str, Value]) -> dict[str, Any]:
    """The parameters with the dotted ``changes``."""
    content = copy.deepcopy(dict(base))
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    return content


def _wrong(cells: Sequence[Cell]) -> Iterable[str]:
    for cell in cells:
        try:
            params = parse_params(cell.parameters, f"cell {cell.name!r}")
        except DtiError as error:
            yield str(error)
            continue
        if params.data.split == "none":
            yield f"cell {cell.name!r}: data.split none leaves no test targets to compare; set time"


def _twice(cells: Sequence[Cell]) -> Iterable[str]:
    """Cells and configurations that are the same under one name or two, and names that make one file."""
    configurations: dict[str, str] = {}
    seeds: dict[str, str] = {}
    slugs: dict[str, str] = {}
    for cell in cells:
        key = without(cell.parameters, SEED)
        first = configurations.setdefault(key, cell.configuration)
        if first != cell.configuration:
            yield f"{first!r} and {cell.configuration!r} are the same configuration; keep one"
        elif without(cell.parameters) in seeds:
            yield f"{cell.name!r} is there twice; keep one"
        elif cell.slug in slugs:
            yield f"{slugs[cell.slug]!r} and {cell.name!r} have the same file name {cell.slug}; rename a group"
        seeds.setdefault(without(cell.parameters), cell.name)
        slugs.setdefault(cell.slug, cell.name)
