"""The champion for those who compare with it: its recorded metrics, and its files as the folder of a run."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dti.errors import DtiError
from dti.home import ROOT, home
from dti.params import Params
from dti.registry.aliases import CHAMPION, aliases_of
from dti.registry.tracking import exclusive
from dti.registry.versions import copies, find_version, model_name, open_origin
from dti.workspace import Workspace

SCORES = "data/scores"


@dataclass(frozen=True)
class Champion:
    """The champion beside a run, as MLflow knows it; nothing is scored.

    Attributes:
        version: its number.
        metrics: the numbers of its metrics.json by their names; what was null is not there.
        same_targets: whether these are metrics of the run's own test targets, as DVC's hash of the data says.
    """

    version: str
    metrics: Mapping[str, float]
    same_targets: bool


def champion_beside(run_id: str, dataset: str) -> Champion | None:
    """The champion of a data set, to be shown beside a recorded run; None where there is none.

    Raises:
        DtiError: MLflow cannot be reached or refuses.
    """
    name = model_name(dataset)
    with exclusive() as client:
        if not client.search_registered_models(f"name = '{name}'") or CHAMPION not in aliases_of(client, name):
            return None
        version = find_version(client, name, CHAMPION)
        metrics = {metric.key: metric.value for metric in client.get_logged_model(version.model_id).metrics or ()}
        data = client.get_run(run_id).data.tags.get("dvc.interim")
    return Champion(version.number, metrics, data is not None and data == version.tags.get("dvc.interim"))


def champion_folder(params: Params, root: Path = ROOT) -> Path:
    """The champion of ``data.name`` as the folder of a run: params.yaml, reports/ and, if DVC has them, data/scores/.

    Raises:
        DtiError: there is no champion, its files are gone, or another process makes the folder right now.
    """
    name = model_name(params.data.name)
    workspace = Workspace(home() / "champion" / name, root)
    with copies() as fetched, workspace.held() as mine:
        if not mine:
            raise DtiError(f"{workspace.folder}: another process compares with the champion right now; try again")
        with exclusive() as client:
            origin = open_origin(client, find_version(client, name, CHAMPION), fetched)
        workspace.remove()
        shutil.copytree(origin.folder, workspace.folder)
        workspace.configure(origin.parameters)
        _bring_scores(workspace)
    return workspace.folder


def _bring_scores(workspace: Workspace) -> None:
    """Without its scores a comparison lacks the difference by user, and says so."""
    if not (workspace.folder / "dvc.lock").is_file():
        return
    try:
        workspace.checkout([SCORES])
    except DtiError as error:
        shutil.rmtree(workspace.folder / SCORES, ignore_errors=True)
        print(f"the champion's scores cannot be had any more: {error}", flush=True)
