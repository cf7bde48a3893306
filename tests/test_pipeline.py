"""The whole of `dvc repro` on a small demo, in a plain copy of the project without git, offline."""

import pyarrow.parquet as pq
import pytest

SMALL = {
    "demo": {"users": 60, "interactions": 1500, "items": 40},
    "model": {"tiny": {"layers": 2, "width": 16, "heads": 2, "vocabulary": 320}},
    "train": {"epochs": 1, "targets_per_step": 64, "valid_targets": 500},
    "evaluate": {"bootstrap": 50, "parity_targets": 1000},
}


@pytest.fixture(scope="module")
def project(make_copy):
    return make_copy(git=False)


@pytest.fixture(scope="module")
def first(project):
    stages = project.repro(**SMALL)
    return stages, project.output


def test_one_command_runs_everything(project, first):
    stages, output = first
    assert stages == ["fetch@demo", "prepare", "pack", "train", "evaluate", "report", "track"]
    assert "(recorded now)" in output
    metrics = project.report("metrics")
    assert metrics["dataset"] == "demo"
    assert 0 < metrics["auc_low"] <= metrics["auc"] <= metrics["auc_high"] < 1
    assert metrics["oracle_auc"] > metrics["popularity_auc"]
    assert metrics["scored_on"] == "stream"
    for page in ("report.html", "report.md"):
        text = (project.folder / "reports" / page).read_text()
        assert f"{metrics['auc']:.4f} [{metrics['auc_low']:.4f}, {metrics['auc_high']:.4f}]" in text
        assert "LEAK" not in text
    scores = pq.read_table(project.folder / "data/scores/test.parquet")
    assert scores.column_names == ["user_id", "item_id", "timestamp", "label", "score"]
    assert scores.num_rows == metrics["test_targets"] == project.report("pack")["targets"]["test"]


def test_a_second_run_only_finds_its_record(project, first):
    before = project.report("metrics")
    assert project.repro() == ["track"]
    assert "(recorded before)" in project.output
    assert project.report("metrics") == before


def test_the_unique_layout_gives_the_same_model_for_fewer_tokens(project, first):
    before, tokens = project.report("metrics"), project.report("train")["train_tokens"]
    assert project.repro(attention={"layout": "unique"}) == ["train", "evaluate", "report", "track"]
    after = project.report("metrics")
    assert abs(after["auc"] - before["auc"]) < 1e-4
    assert abs(after["log_loss"] - before["log_loss"]) < 1e-4
    assert project.report("train")["train_tokens"] < tokens
    assert max(project.report("parity")["max_abs_logit_gap"].values()) < 1e-5
    project.set(attention={"layout": "stream"})


def test_another_k_runs_pack_and_later_stages(project, first):
    assert project.repro(pack={"k": 1}) == ["pack", "train", "evaluate", "report", "track"]
    assert project.report("metrics")["paradigm"] == "sliding"
    assert project.report("pack")["counted_ratio"] == 1.0


def test_a_track_parameter_never_retrains(project, first):
    assert project.repro(track={"experiment": "other"}) == ["track"]


def test_a_window_model_is_scored_on_serving_prompts(project, first):
    assert project.repro(attention={"policy": "window", "context": "all"}) == ["train", "evaluate", "report", "track"]
    assert project.report("metrics")["scored_on"] == "serving"


def test_the_final_fit_trains_on_everything(project, first):
    stages = project.repro(data={"split": "none"}, attention={"policy": "isolated"})
    assert stages == ["prepare", "pack", "train", "evaluate", "report", "track"]
    metrics = project.report("metrics")
    assert metrics["auc"] is None
    assert metrics["test_targets"] == 0
    assert metrics["train_targets"] == 1500 - 5 * 60
    assert "nothing tests it" in (project.folder / "reports/report.md").read_text()


def test_a_wrong_parameter_stops_before_any_work(project, first):
    path = project.folder / "params.yaml"
    good = path.read_text()
    path.write_text(good.replace("n: 20", "n: -1"))
    assert project.run("dvc", "repro") != 0
    assert "pack.n: -1 is less than the minimum of 1" in project.output
    path.write_text(good)
