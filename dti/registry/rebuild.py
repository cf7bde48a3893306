"""Rebuild a version from its commit, parameters and data, train it again, and compare.

It runs in a workspace of its own, with its own ``DTI_HOME``: neither the run cache nor a checkpoint takes the place of
the training that is to be proven.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dti import git
from dti.errors import DtiError
from dti.evaluation.table import aligned
from dti.files import read_json, sha256_of
from dti.home import ROOT, home
from dti.registry.tracking import exclusive
from dti.registry.versions import Opened, copies, find_version, open_version
from dti.workspace import Workspace

TIMES = ("training_hours", "targets_per_second")
"""Metrics that differ from run to run."""
COMPARED = ("metrics", "parity")
FORCED = ("--single-item", "--force")
"""Run this stage whatever dvc.lock and the run cache know."""


@dataclass(frozen=True)
class Line:
    """A metric of the version and of its rerun."""

    name: str
    recorded: Any
    rerun: Any

    @property
    def equal(self) -> bool:
        """Whether both are the same, to the last digit."""
        return bool(self.recorded == self.rerun)


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found.

    Attributes:
        version: as text.
        lines: every metric but times.
        same_weights: whether the weights' files are equal, byte by byte.
        folder: the workspace, which stays where something differs.
    """

    version: str
    lines: list[Line]
    same_weights: bool
    folder: Path

    @property
    def equal(self) -> bool:
        """Whether every metric is the same."""
        return all(line.equal for line in self.lines)


def rebuild(model: str, which: str | None = None, root: Path = ROOT) -> Rebuilt:
    """Train and evaluate a version again, as it was, and compare all metrics but times.

    Raises:
        DtiError: the version was made from uncommitted code or without DVC, its commit or data cannot be had, or the
            pipeline failed.
    """
    with copies() as folder:
        with exclusive() as client:
            opened = open_version(client, find_version(client, model, which), folder)
        return _rebuild(opened, root)


def _rebuild(opened: Opened, root: Path) -> Rebuilt:
    commit = _commit_of(opened)
    workspace = Workspace(home() / "reproduce" / f"{opened.version.model}-{opened.version.number}", root)
    with workspace.held() as mine:
        if not mine:
            raise DtiError(f"{opened.version} is being rebuilt by another process in {workspace.folder}")
        workspace.remove()
        git.export(root, commit, workspace.folder)
        workspace.configure(opened.origin.parameters)
        opened.origin.restore(workspace.folder)
        _bring_data(workspace, opened)
        _train(workspace, opened)
        found = _compare(opened, workspace.folder)
        if found.equal:
            workspace.remove()
    return found


def _commit_of(opened: Opened) -> str:
    tags = opened.version.tags
    if "mlflow.source.git.commit" not in tags:
        raise DtiError(f"{opened.version} was made outside git: nobody knows its code, so that it cannot be rebuilt")
    if tags.get("dti.git_dirty") != "false":
        raise DtiError(
            f"{opened.version} was made from uncommitted code (on commit {tags['mlflow.source.git.commit'][:12]}), so "
            "that it cannot be rebuilt; commit, then `dvc repro` for a version that can"
        )
    return tags["mlflow.source.git.commit"]


def _bring_data(workspace: Workspace, opened: Opened) -> None:
    """Take the packed data from the cache; where it is gone, make it again, and see that it is the same."""
    shutil.rmtree(workspace.folder / "data" / "packed", ignore_errors=True)
    try:
        workspace.checkout(["data/packed"])
    except DtiError:
        print("the packed data is no longer in the cache: it is made again", flush=True)
        workspace.run(["pack"])
    found = _packed_hash(workspace.folder / "dvc.lock")
    if found != (expected := opened.version.tags.get("dvc.packed")):
        raise DtiError(f"{opened.version}: the packed data has DVC hash {found}, the version was made from {expected}")
    (workspace.folder / "reports").mkdir(exist_ok=True)
    for name in ("data", "pack"):
        shutil.copy2(opened.origin.folder / "reports" / f"{name}.json", workspace.folder / "reports" / f"{name}.json")


def _packed_hash(lock: Path) -> str | None:
    outs = yaml.safe_load(lock.read_text())["stages"]["pack"]["outs"]
    return next((str(out["md5"]) for out in outs if out["path"] == "data/packed"), None)


def _train(workspace: Workspace, opened: Opened) -> None:
    environment = {"DTI_HOME": str(workspace.folder / "home")}
    if threads := opened.origin.reports["train"].get("threads"):
        environment["OMP_NUM_THREADS"] = str(threads)
    for stage in ("train", "evaluate"):
        workspace.run([*FORCED, stage], environment)


def _compare(opened: Opened, folder: Path) -> Rebuilt:
    lines = []
    for report in COMPARED:
        recorded = dict(_flat(opened.origin.reports[report]))
        rerun = dict(_flat(read_json(folder / "reports" / f"{report}.json")))
        names = [name for name in sorted({*recorded} | {*rerun}) if name not in TIMES]
        prefix = "" if report == "metrics" else f"{report}/"
        lines += [Line(f"{prefix}{name}", recorded.get(name), rerun.get(name)) for name in names]
    kept, made = (_weights(place) for place in (opened.files / "artifacts/bundle/adapter", folder / "models/adapter"))
    return Rebuilt(str(opened.version), lines, kept == made, folder)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _weights(folder: Path) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in sorted(folder.glob("*.safetensors"))}


def rebuilt_table(found: Rebuilt) -> str:
    """The comparison as text for the terminal."""
    rows = [("metric", "version", "rerun", "equal")]
    rows += [
        (line.name, _shown(line.recorded), _shown(line.rerun), "yes" if line.equal else "NO") for line in found.lines
    ]
    weights = "equal, byte by byte" if found.same_weights else "not equal"
    return f"{found.version}, trained and evaluated again\n\n{aligned(rows)}\n\nweights: {weights}"


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
