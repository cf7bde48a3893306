"""`python -m dti apply RUN`: bring a run's parameters, dvc.lock, reports and outputs into the project's own folder."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dti.errors import DtiError
from dti.files import atomic_file
from dti.home import ROOT, home
from dti.params import load_params
from dti.workspace import Workspace

LOCKS = ("dvc.lock", "data/dvc.lock")
REPORTS = "reports"
BEFORE = "before-apply"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run."""
    parser.add_argument("flow_run", metavar="RUN", help="the flow run's id, or as much of its beginning as is unique")


def run(arguments: argparse.Namespace) -> None:
    """Apply the run that the command line names.

    Raises:
        DtiError: see `apply_run`.
    """
    apply_run(home() / "runs", arguments.flow_run)


def apply_run(runs: Path, run: str, root: Path = ROOT) -> None:
    """Bring a finished run into the project's folder, and keep what its files replace in ``DTI_HOME``.

    Args:
        runs: the folder of workspaces.
        run: a workspace's name, or the beginning of one.

    Raises:
        DtiError: there is no such run, it goes on, it has no result, or DVC lacks an output.
    """
    workspace = Workspace(_found(runs, run), root)
    with workspace.held() as mine:
        if not mine:
            raise DtiError(f"{workspace.folder.name}: the run goes on; wait for its end")
        if not (workspace.folder / REPORTS / "metrics.json").is_file():
            raise DtiError(f"{workspace.folder.name}: the run has no result; see {workspace.log}")
        params = workspace.folder / "params.yaml"
        load_params(params)
        _keep(root)
        _set_values(root / "params.yaml", _values_of(params, root / "params.yaml"))
        for name in LOCKS:
            _add_stages(root / name, workspace.folder / name)
        shutil.copytree(workspace.folder / REPORTS, root / REPORTS, dirs_exist_ok=True)
    # By name: sources that nobody has fetched here have no hash, and a checkout of everything fails on them.
    outputs = [path for name in LOCKS for path in _outputs(workspace.folder / name)]
    if subprocess.run([sys.executable, "-m", "dvc", "checkout", "--force", *outputs], cwd=root).returncode:
        raise DtiError("`dvc checkout` failed, see above; the files of before are in " + str(home() / BEFORE))
    print(f"applied {workspace.folder.name}; what it replaced is in {home() / BEFORE}")


def _found(runs: Path, run: str) -> Path:
    names = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    chosen = [name for name in names if name.startswith(run)] if run else []
    if len(chosen) != 1:
        problem = f"{len(chosen)} runs begin like this; name more of the id" if chosen else "no such run in this home"
        pruned = "" if chosen else "; if its folder was pruned, start it again: it takes seconds"
        raise DtiError(f"{run!r}: {problem}{pruned}")
    return runs / chosen[0]


def _outputs(lock: Path) -> list[str]:
    """What the run made, by a lock file, but for reports/, which is copied."""
    stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {}) if lock.exists() else {}
    paths = (str(entry["path"]) for stage in stages.values() for entry in stage.get("outs", ()))
    return [path for path in paths if not path.startswith(f"{REPORTS}/")]


def _keep(root: Path) -> None:
    """A copy of the project's files as they are before they are replaced; that of the last time gives way."""
    before = home() / BEFORE
    shutil.rmtree(before, ignore_errors=True)
    for name in ("params.yaml", *LOCKS):
        if (root / name).exists():
            (before / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, before / name)
    if (root / REPORTS).exists():
        shutil.copytree(root / REPORTS, before / REPORTS)


def _values_of(run: Path, own: Path) -> dict[str, Any]:
    """A run's parameters; whether results become versions stays as it is here: every cell of a sweep says no."""
    values, here = (dict(yaml.safe_load(path.read_text())) for path in (run, own))
    values["track"] |= {name: value for name, value in here.get("track", {}).items() if name == "register"}
    return values


def _set_values(path: Path, values: Mapping[str, Any]) -> None:
    """Put the values into a YAML file; comments and order stay."""
    from dvc.utils.serialize import modify_yaml  # DVC takes a moment to load

    with modify_yaml(path) as content:
        _put(content, values)


def _put(content: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(content.get(name), Mapping):
            _put(content[name], value)
        elif content.get(name) != value:
            content[name] = value
    for name in [name for name in content if name not in values]:
        del content[name]


def _add_stages(path: Path, other: Path) -> None:
    """The stages of one lock file over those of another: sources that the run did not use keep theirs."""
    if not other.exists():
        return
    content = yaml.safe_load(path.read_text()) if path.exists() else None
    added = yaml.safe_load(other.read_text())
    stages = {**((content or {}).get("stages") or {}), **added["stages"]}
    with atomic_file(path) as partial:
        partial.write_text(yaml.safe_dump(added | {"stages": stages}, sort_keys=False))
