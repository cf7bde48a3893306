import threading
from contextvars import ContextVar

import pytest
from prefect.logging import disable_run_logger

from dti.errors import DtiError
from dti.files import write_json
from dti.home import ROOT
from dti.registry.champion import Champion
from dti.registry.tracking import Place, describe
from dti.workspace import Workspace
from flows import pipeline, result
from flows.parameters import read_values
from flows.pipeline import RETRY_SECONDS, Voice, run_pipeline, run_stage
from flows.result import Result, read_result

WHERE: ContextVar[str] = ContextVar("WHERE", default="nowhere")
TRAINING = "epoch {}/2: 10/20 targets (50 %), 5 targets/s, 0:00:02 left, loss 0.5\n"


class Log:
    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


@pytest.fixture
def shown(monkeypatch):
    """What was shown as a progress artifact, and in which context."""
    found = []
    monkeypatch.setattr(
        pipeline, "create_progress_artifact", lambda progress, **more: found.append((progress, WHERE.get(), more)) or 7
    )
    monkeypatch.setattr(
        pipeline, "update_progress_artifact", lambda id, progress, **more: found.append((progress, WHERE.get(), id))
    )
    return found


def test_progress_moves_although_lines_come_in_another_thread(shown):
    token = WHERE.set("the task")
    voice = Voice("data/dvc.yaml:fetch@demo", Log())
    WHERE.reset(token)
    for number in (1, 2):
        reader = threading.Thread(target=voice, args=(TRAINING.format(number),))
        reader.start()
        reader.join()
    assert [entry[:2] for entry in shown] == [(25.0, "the task"), (75.0, "the task")]
    assert shown[0][2]["key"] == "progress-fetch-demo"
    assert shown[1][2] == 7
    assert len(voice.log.lines) == 2


def test_a_progress_artifact_that_somebody_deleted_stops_no_training(shown, monkeypatch):
    def gone(*arguments, **more):
        raise LookupError("no such artifact")

    voice = Voice("train", Log())
    voice(TRAINING.format(1))
    monkeypatch.setattr(pipeline, "update_progress_artifact", gone)
    voice(TRAINING.format(2))
    voice(TRAINING.format(3))
    assert voice.log.lines.count("progress is not shown any more: no such artifact") == 1
    assert len(voice.log.lines) == 4


def test_a_failed_stage_says_why(tmp_path):
    workspace = Workspace(tmp_path / "work")
    workspace.folder.mkdir()
    (workspace.folder / "dvc.py").write_text(
        "import sys\nprint(sys.argv[1:])\nprint('ERROR: items.csv, row 3: no title')\nprint('  do this')\nsys.exit(1)"
    )
    with disable_run_logger(), pytest.raises(DtiError) as caught:
        run_stage.fn("prepare", workspace)
    lines = str(caught.value).splitlines()
    assert lines[:3] == ["stage prepare failed", "ERROR: items.csv, row 3: no title", "  do this"]
    assert workspace.log.read_text().startswith("['repro', '--single-item', 'prepare']\n")


def test_only_the_net_is_tried_again(monkeypatch, home):
    """And every stage is run once, in DVC's order, with no cache but DVC's."""
    calls = []

    class Task:
        def with_options(self, retries, retry_delay_seconds):
            return lambda stage, workspace: calls.append((stage, retries, retry_delay_seconds))

    monkeypatch.setattr(pipeline, "run_stage", Task())
    monkeypatch.setattr(pipeline, "read_result", lambda workspace: workspace.folder.name)
    assert run_pipeline(read_values(ROOT), "run-1") == "run-1"
    assert calls[0] == ("data/dvc.yaml:fetch@demo", 3, RETRY_SECONDS)
    assert calls[1:] == [(stage, 0, 0) for stage in ("prepare", "pack", "train", "evaluate", "report", "track")]
    assert run_stage.retries == 0
    assert run_stage.cache_policy.__class__.__name__ == "_None"


def test_wrong_parameters_stop_before_any_work(home):
    values = read_values(ROOT)
    values["pack"]["n"] = 0
    with pytest.raises(DtiError, match="pack.n: 0 is less than the minimum of 1"):
        run_pipeline(values, "run-1")
    assert not (home / "runs").exists()


def test_the_table_shows_baselines_beside_the_model():
    metrics = {
        "auc": 0.800004, "log_loss": 0.5, "gauc": 0.7, "f1": None, "ece": 0.01,
        "popularity_auc": 0.6, "popularity_log_loss": 0.6, "lr_auc": 0.7, "lr_log_loss": 0.55,
    }  # fmt: skip
    assert result.table_of(metrics) == [
        {"scores of": "model", "AUC": 0.8, "log loss": 0.5, "gAUC": 0.7, "F1": None, "ECE": 0.01},
        {"scores of": "popularity", "AUC": 0.6, "log loss": 0.6},
        {"scores of": "logistic regression", "AUC": 0.7, "log loss": 0.55},
    ]


def test_the_champion_stands_below_the_model():
    metrics = {"auc": 0.8, "log_loss": 0.5, "gauc": 0.7, "f1": None, "ece": 0.01, "lr_auc": 0.7, "lr_log_loss": 0.55}
    theirs = {"auc": 0.9, "log_loss": 0.4, "lr_auc": 0.7}
    rows = result.table_of(metrics, Champion("3", theirs, same_targets=True))
    assert [row["scores of"] for row in rows] == ["model", "champion, version 3", "logistic regression"]
    assert rows[1] == {
        "scores of": "champion, version 3", "AUC": 0.9, "log loss": 0.4, "gAUC": None, "F1": None, "ECE": None
    }  # fmt: skip
    rows = result.table_of(metrics, Champion("4", theirs, same_targets=False))
    assert rows[1]["scores of"] == "champion, version 4, on other test targets"


def test_a_registry_that_does_not_answer_takes_nothing_from_a_run(tmp_path, monkeypatch):
    seen, warnings = {}, []

    def refuse(run_id, dataset):
        raise DtiError(f"{dataset}: MLflow is away")

    class Log:
        def warning(self, *words):
            warnings.append(words[0] % words[1:])

    monkeypatch.setattr("dti.registry.champion.champion_beside", refuse)
    monkeypatch.setattr(result, "get_run_logger", Log)
    monkeypatch.setattr(result, "create_table_artifact", lambda rows, **more: seen.update(rows=rows))
    monkeypatch.setattr(result, "create_markdown_artifact", lambda text, **more: None)
    monkeypatch.setattr(result, "report_of", lambda found, run: "")
    metrics = {"dataset": "demo", "auc": 0.8, "log_loss": 0.5, "gauc": 0.7, "f1": None, "ece": 0.01}
    result.show(Result(metrics, "run", "1", "link", tmp_path), "id")
    assert [row["scores of"] for row in seen["rows"]] == ["model"]
    assert warnings == ["no champion is shown: demo: MLflow is away"]


def test_the_record_is_where_the_last_stage_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DTI_MLFLOW_URL", "http://127.0.0.1:5000")
    workspace = Workspace(tmp_path / "work")
    write_json(workspace.folder / "reports/metrics.json", {"auc": 0.5})
    workspace.log.write_text("nothing\n")
    with pytest.raises(DtiError, match="no stage said where the run's record is"):
        read_result(workspace)
    for run in ("old", "new"):
        with workspace.log.open("a") as log:
            log.write(describe(Place("sqlite:///x.db", "dti", "3", run, new=True)) + "\n")
    found = read_result(workspace)
    assert found == Result({"auc": 0.5}, "new", "3", "http://127.0.0.1:5000/#/experiments/3/runs/new", workspace.folder)
    assert found.link_to("other") == "http://127.0.0.1:5000/#/experiments/3/runs/other"
