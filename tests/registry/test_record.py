import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from dti.errors import DtiError
from dti.params import load_params
from dti.registry.record import Point, read_record, result_key


def test_params_metrics_curves_and_tags_come_from_the_files(project: Path) -> None:
    record = read_record(project, load_params())
    assert record.params["pack.k"] == "50"
    assert record.params["model.revision"] == "null"
    assert record.params["model.backbone"] == "tiny"
    assert record.params["pack.templates.demo.profile"] == "{age}, {region}"
    assert record.metrics["auc"] == 0.75
    assert record.metrics["train/steps"] == 160
    assert record.metrics["pack/targets/train"] == 80000
    assert record.metrics["data/users"] == 2000
    assert record.metrics["parity/max_abs_logit_gap/all"] == 1e-7
    assert {"f1", "k", "official", "train/device"}.isdisjoint(record.metrics), "null, text and truth are no metrics"
    assert record.curves["curve/train_loss"] == [Point(80, 0.01, 0.6), Point(160, 0.02, 0.5)]
    assert record.curves["curve/valid_auc"] == [Point(80, 0.01, 0.7)], "an epoch without a value has no point"
    assert record.name == "demo stream k=all isolated"
    assert record.tags == {
        "dti.key": record.key,
        "dti.dataset": "demo",
        "dti.title": "Demo (generated)",
        "dti.official_archive": "true",
        "dti.backbone_weights": "float32",
        "dti.backbone": "tiny",
        "dti.tuning": "full",
        "dti.training_hours": "0.02",
        "dti.device": "cpu",
    }, "without git and dvc.lock there are no more tags"


def test_data_hashes_come_from_dvc_lock(project: Path) -> None:
    stages = {
        "prepare": {
            "deps": [{"path": "data/raw/demo", "md5": "1.dir"}, {"path": "dti/data", "md5": "x.dir"}],
            "outs": [{"path": "data/interim", "md5": "2.dir"}],
        },
        "train": {"cmd": "python", "outs": [{"path": "models/adapter", "md5": "4.dir"}]},
    }
    (project / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    tags = read_record(project, load_params()).tags
    found = {name: value for name, value in tags.items() if name.startswith("dvc.")}
    assert found.pop("dvc.code") == hashlib.sha256(b"dti/data x.dir\n").hexdigest(), "one digest over all code"
    assert found == {"dvc.raw": "1.dir", "dvc.interim": "2.dir", "dvc.adapter": "4.dir"}


def test_the_commit_is_recorded_with_whether_the_code_differs(project: Path) -> None:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=project, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    assert "mlflow.source.git.commit" not in read_record(project, load_params()).tags, "no commit yet"
    git("add", "dvc.yaml")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first")
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# results and params may differ\n")
    tags = read_record(project, load_params()).tags
    assert (tags["mlflow.source.git.commit"], tags["dti.git_dirty"]) == (git("rev-parse", "HEAD"), "false")
    (project / "dti").mkdir()
    (project / "dti/new.py").touch()
    assert read_record(project, load_params()).tags["dti.git_dirty"] == "true"


def test_a_repository_around_the_project_is_not_its_own(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=project.parent, check=True)
    assert "mlflow.source.git.commit" not in read_record(project, load_params()).tags


@pytest.mark.parametrize("path", ["data/scores/test.parquet", "models/adapter/dti.json", "reports/train.json"])
def test_the_key_changes_with_every_result(project: Path, path: str) -> None:
    before = result_key(project)
    assert result_key(project) == before
    (project / path).write_text(json.dumps({"changed": 1}))
    assert result_key(project) != before


def test_the_key_leaves_out_code(project: Path) -> None:
    before = result_key(project)
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    graph["stages"]["track"]["deps"] += ["dti/registry", "dti/stages/track.py"]
    (project / "dvc.yaml").write_text(yaml.safe_dump(graph))
    assert result_key(project) == before


def test_a_missing_result_is_named(project: Path) -> None:
    (project / "reports/train.json").unlink()
    with pytest.raises(DtiError, match=r"reports/train\.json: not found; run `dvc repro`"):
        result_key(project)
