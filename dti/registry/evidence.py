"""The numbers that a promotion is decided on: test targets of the challenger, scored by it and by the champion."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dti.errors import DtiError
from dti.files import atomic_file
from dti.home import home
from dti.registry.versions import Opened
from dti.workspace import Workspace

APART = Path(__file__).with_name("apart.py")
SAMPLE_SEED = 0


@dataclass(frozen=True)
class Evaluated:
    """A version's test targets, as its evaluation left them.

    Attributes:
        user: the users' ids, (T,).
        label: int8, (T,).
        score: float64, what evaluate gave them, (T,).
        row: where the targets stand in ``interactions``, (T,).
        interactions: the data behind them, sorted by user, then time.
        interim: DVC's hash of that data.
        items, users: text fields by id; ``users`` is empty where there are no profiles.
    """

    user: NDArray[Any]
    label: NDArray[Any]
    score: NDArray[np.float64]
    row: NDArray[np.int64]
    interactions: pa.Table
    interim: str | None
    items: dict[str, dict[str, str]]
    users: dict[str, dict[str, str]]

    def sample(self, most: int) -> NDArray[np.int64]:
        """Some targets, drawn at random but always the same, in their order."""
        chosen = np.random.default_rng(SAMPLE_SEED).permutation(self.label.size)[:most]
        return np.sort(chosen)


@contextmanager
def evaluated_targets(challenger: Opened) -> Iterator[Evaluated]:
    """Bring a version's test targets from DVC's cache, for as long as they are needed.

    Raises:
        DtiError: the cache no longer has them, or they do not fit together.
    """
    with tempfile.TemporaryDirectory(dir=home(), prefix="promote-") as temporary:
        workspace = Workspace(Path(temporary))
        workspace.configure(challenger.origin.parameters)
        challenger.origin.restore(workspace.folder)
        try:
            workspace.checkout(["data/interim", "data/scores"])
        except DtiError as error:
            number = challenger.version.number
            raise DtiError(
                f"{challenger.version}: its test targets cannot be had any more: {error}\n"
                f"Run `dvc repro` with its parameters, or `python -m dti reproduce {number}`, to make them again."
            ) from error
        yield _read(workspace.folder / "data", challenger.version.tags.get("dvc.interim"))


def _read(data: Path, interim: str | None) -> Evaluated:
    scores = pq.read_table(data / "scores" / "test.parquet")
    interactions = pq.read_table(data / "interim" / "interactions.parquet")
    row = np.flatnonzero(interactions["split"].to_numpy() == "test")
    for name in ("user_id", "item_id", "label"):
        if not np.array_equal(interactions[name].to_numpy()[row], scores[name].to_numpy()):
            raise DtiError(f"{data}: scores/test.parquet and interim/interactions.parquet differ in {name}")
    user, label, score = (scores[name].to_numpy() for name in ("user_id", "label", "score"))
    items, users = (_fields(data / "interim" / f"{name}s.parquet", f"{name}_id") for name in ("item", "user"))
    return Evaluated(user, label, score, row, interactions, interim, items, users)


def _fields(file: Path, key: str) -> dict[str, dict[str, str]]:
    if not file.exists():
        return {}
    rows = pq.read_table(file).to_pylist()
    return {row.pop(key): {name: text for name, text in row.items() if text is not None} for row in rows}


def served_scores(model: Opened, test: Evaluated, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Score targets of a test as a version serves them, by its own code in a process of its own.

    Args:
        chosen: which targets, ascending, (C,).

    Returns:
        their scores, (C,).

    Raises:
        DtiError: the version does not load here, or refuses a request.
    """
    if not chosen.size:
        return np.empty(0)
    with tempfile.TemporaryDirectory(dir=home(), prefix="score-") as temporary:
        reading = Reading.of(model.origin.parameters, knows_items=_same_data(model, test))
        requests, scores = Path(temporary) / "requests.jsonl", Path(temporary) / "scores.npy"
        with atomic_file(requests) as partial, partial.open("w", encoding="utf-8") as lines:
            lines.writelines(f"{json.dumps(one)}\n" for one in requests_of(test, chosen, reading))
        print(f"{model.version} scores {chosen.size:,} test targets", flush=True)
        _run_apart(model, requests, scores)
        return np.load(scores)


def _run_apart(model: Opened, requests: Path, scores: Path) -> None:
    command = [sys.executable, "-P", str(APART), str(model.files), str(requests), str(scores)]
    environment = os.environ | {"DTI_HOME": str(home())}
    done = subprocess.run(command, env=environment, cwd=requests.parent, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = "\n  ".join(done.stderr.strip().splitlines()[-3:])
        raise DtiError(f"{model.version} cannot be scored by its own code:\n  {said}")


def _same_data(model: Opened, test: Evaluated) -> bool:
    """Whether the version was made from the data of the test, so that its catalogue has every item."""
    return test.interim is not None and model.version.tags.get("dvc.interim") == test.interim


@dataclass(frozen=True)
class Reading:
    """What a version wants to know of a target, as its parameters say.

    Attributes:
        n: how many interactions it reads, at most.
        labels: the column that it reads as context labels.
        item: the text fields of an item that the request must bring; empty where the version knows every item.
        profile: the fields of a user's profile; None where it reads none.
    """

    n: int
    labels: str
    item: Sequence[str]
    profile: Sequence[str] | None

    @classmethod
    def of(cls, parameters: Mapping[str, Any], *, knows_items: bool) -> "Reading":
        """Read it from a version's params.yaml."""
        pack, dataset = parameters["pack"], parameters["data"]["name"]
        template = pack["templates"].get(dataset) or pack["templates"][dataset.split("-")[0]]  # as Params.template_name
        labels = "rating" if pack["context_labels"] == "rating" else "label"
        profile = _names(template["profile"]) if pack["profile"] else None
        return cls(pack["n"], labels, () if knows_items else _names(template["item"]), profile)


def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def requests_of(test: Evaluated, chosen: NDArray[np.int64], reading: Reading) -> Iterator[dict[str, Any]]:
    """A request per target: the user's last interactions before it, the target's item as the only candidate.

    Raises:
        DtiError: the version reads what this data does not have.
    """
    names = ("user_id", "item_id", "order", reading.labels)
    if lacking := [name for name in names if name not in test.interactions.column_names]:
        raise DtiError(f"the test targets have no {lacking[0]}, which the version reads")
    user, item, order, label = (test.interactions[name].to_numpy() for name in names)
    for row in test.row[chosen]:
        past = slice(row - min(reading.n, int(order[row])), row)
        seen = zip(item[past], label[past].tolist(), strict=True)
        request: dict[str, Any] = {"history": [{"item_id": one, "label": value} for one, value in seen]}
        request["candidates"] = [item[row]]
        if reading.item:
            request["items"] = {one: _some(test.items[one], reading.item) for one in (*item[past], item[row])}
        if reading.profile is not None:
            request["profile"] = _some(test.users.get(user[row], {}), reading.profile)
        yield request


def _some(fields: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: fields[name] for name in names if name in fields}
