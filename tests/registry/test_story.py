"""Releases as a user makes them: real trainings on a small demo, real MLflow, every command in a process of its own."""

import json
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = {
    "demo": {"users": 300, "interactions": 9000, "items": 100},
    "model": {"tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 320}},
    "evaluate": {"bootstrap": 100},
    # So few test targets (750) cannot show a small gain beyond doubt; the bound on it is tested in test_rule.py.
    "promote": {"min_gain": -0.01},
}
A = {"targets_per_step": 64, "epochs": 2, "learning_rate": 0.003}
B = A | {"epochs": 1, "learning_rate": 0.0005}
C = A | {"epochs": 4, "learning_rate": 0.006}

ASK = """
import json, sys
import mlflow.pyfunc
model = mlflow.pyfunc.load_model("models:/dti-ctr-demo@champion")
print(json.dumps(model.predict([{"history": [], "candidates": json.loads(sys.argv[1])}])[0]["scores"]))
"""


@pytest.fixture(scope="module")
def project(make_copy, tmp_path_factory):
    copy = make_copy(git=True)
    copy.environment["DTI_HOME"] = str(tmp_path_factory.mktemp("home"))
    copy.environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    copy.environment.pop("PYTHONPATH", None)
    return copy


def train(project, values, **changes):
    project.repro(**(SMALL | changes), train=values)
    return re.search(r"version +models:/dti-ctr-demo/(\d+)", project.output).group(1)


def aliases(project):
    return dict(re.findall(r"(champion|challenger|previous): version (\d+)", project.output.splitlines()[-1]))


def ask(project, items=("0", "1", "2")):
    """Score a user of whom nothing is known with the champion, by the champion's own code."""
    database = f"sqlite:///{project.environment['DTI_HOME']}/mlflow/mlflow.db"
    command = [sys.executable, "-P", "-c", ASK, json.dumps(items)]
    environment = project.environment | {"MLFLOW_TRACKING_URI": database}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def ids(project, story):
    text = (project.folder / "data/raw/demo/items.csv").read_text().splitlines()
    return [line.split(",")[0] for line in text[1:4]]


@pytest.fixture(scope="module")
def story(project):
    """What promoting A, then a worse B, then a better C said."""
    said = {}
    for name, values in {"A": A, "B": B, "C": C}.items():
        number = train(project, values)
        said[name] = (number, project.run("dti", "promote"), project.output, aliases(project))
    return said


def test_a_is_promoted_b_refused_c_promoted(story):
    number, code, output, places = story["A"]
    assert (number, code, places) == ("1", 0, {"champion": "1"}), output
    assert "promoted: every check holds" in output
    assert re.search(r"AUC, logistic regression .* yes", output)
    number, code, output, places = story["B"]
    assert (number, code, places) == ("2", 2, {"champion": "1", "challenger": "2"}), output
    assert "refused; against it:\n  AUC: -0." in output
    number, code, output, places = story["C"]
    assert (number, code) == ("3", 0), output
    assert places == {"champion": "3", "previous": "1", "challenger": "2"}
    assert re.search(r"AUC +0\.\d{4} +0\.\d{4} +\+0\.\d{4} \[[+-]0\.\d{4}, ", output)
    assert re.search(r"served scores +\d\.\de-\d\d on 750 +at most 1\.0e-05 +yes", output)


def test_rollback_and_promotion_after_the_code_has_changed(project, story, ids):
    """Versions carry their code: what the project's own has become does not matter to them."""
    scores = ask(project, ids)
    for name in ("serving/scorer.py", "model/ctr.py", "attention/probes.py"):
        (project.folder / "dti" / name).write_text("raise ImportError('everything is different now')\n")
    try:
        assert project.run("dti", "rollback") == 0, project.output
        assert aliases(project) == {"champion": "1", "previous": "3", "challenger": "2"}
        rolled_back = ask(project, ids)
        assert rolled_back != scores
        assert project.run("dti", "promote", "3") == 0, project.output
        assert aliases(project) == {"champion": "3", "previous": "1", "challenger": "2"}
        assert ask(project, ids) == scores
    finally:
        project.git("checkout", "dti")


def test_a_version_is_rebuilt_to_the_last_digit(project, story):
    assert project.run("dti", "reproduce", "champion") == 0, project.output
    assert "epoch 4/4" in project.output, "it really trains"
    assert re.search(r"^auc +0\.\d+ +0\.\d+ +yes$", project.output, re.MULTILINE)
    assert "weights: equal, byte by byte" in project.output


def test_a_version_of_uncommitted_code_says_so(project, story):
    (project.folder / "dti/training/note.py").write_text('"""A change that is not committed."""\n')
    number = train(project, B, evaluate={"bootstrap": 200})
    assert project.run("dti", "reproduce", number) == 1
    assert f"version {number} was made from uncommitted code" in project.output
    (project.folder / "dti/training/note.py").unlink()


def test_a_lost_cache_is_named(project, story):
    shutil.rmtree(project.folder / ".dvc/cache")
    assert project.run("dti", "promote", "2") == 1
    assert "version 2: its test targets cannot be had any more: data/interim, data/scores: not in DVC's cache" in (
        project.output
    )
