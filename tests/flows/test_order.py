import pytest

from dti.errors import DtiError
from dti.home import ROOT
from dti.workspace import Workspace
from flows.order import is_fetch, stages_of
from flows.parameters import merged, read_values


@pytest.fixture
def make(tmp_path):
    def make(**changes):
        workspace = Workspace(tmp_path / "work")
        workspace.make(merged(read_values(ROOT), changes))
        return workspace.folder

    return make


@pytest.mark.parametrize("name", ["demo", "ml-1m"])
def test_the_order_is_that_of_dvc_and_begins_with_the_chosen_source(make, name):
    stages = stages_of(make(data={"name": name}), "track")
    assert stages == [f"data/dvc.yaml:fetch@{name}", "prepare", "pack", "train", "evaluate", "report", "track"]
    assert [is_fetch(stage) for stage in stages] == [True] + 6 * [False]


def test_another_graph_gives_another_order(make):
    folder = make()
    path = folder / "dvc.yaml"
    path.write_text(
        path.read_text().replace("stages:\n", "stages:\n  look:\n    cmd: echo\n    deps: [data/interim]\n", 1)
    )
    assert stages_of(folder, "look") == ["data/dvc.yaml:fetch@demo", "prepare", "look"]


def test_an_unknown_target_is_refused(make):
    with pytest.raises(DtiError, match="DVC does not find the stages up to 'trak': "):
        stages_of(make(), "trak")
