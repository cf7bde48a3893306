"""The default run learns what can be learned, and the pipeline works in a git clone, experiments and diffs too."""

import json

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(make_copy):
    return make_copy(git=True)


@pytest.fixture(scope="module")
def metrics(clone):
    clone.repro()
    return clone.report("metrics")


def test_the_default_model_is_near_the_oracle(metrics):
    assert metrics["auc"] > metrics["oracle_auc"] - 0.03
    assert metrics["auc"] > metrics["popularity_auc"] + 0.05
    assert metrics["auc"] > metrics["lr_auc"]


def test_experiments_and_diffs_work_in_a_clone(clone, metrics):
    clone.git("add", "-A")
    clone.git("commit", "-qm", "results")
    assert clone.run("dvc", "exp", "run", "-S", "evaluate.bootstrap=20", "-n", "quick") == 0, clone.output
    assert "Running stage 'train'" not in clone.output
    assert clone.run("dvc", "metrics", "diff", "--json") == 0, clone.output
    assert "auc_low" in json.loads(clone.output)["reports/metrics.json"]
    assert clone.run("dvc", "plots", "diff") == 0, clone.output
    assert (clone.folder / "dvc_plots" / "index.html").is_file()
    assert clone.run("dvc", "exp", "show", "--json") == 0
    assert "quick" in clone.output
