import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from dti.errors import DtiError
from dti.params import load_params
from dti.registry import tracking
from dti.registry.record import Record, read_record
from dti.registry.tracking import Place, describe, find_run, record_run, tracking_uri

Start = Callable[..., subprocess.Popen[str]]

KILLED_AT_THE_END = """
import os, signal
from mlflow import MlflowClient
MlflowClient.set_terminated = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from dti.stages.track import main
main()
"""

KILLED_IN_THE_MIDDLE_OF_MAKING_TABLES = """
import os, signal
import alembic.command
alembic.command.upgrade = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from dti.stages.track import main
main()
"""


def record_of(project: Path) -> Record:
    return read_record(project, load_params())


def runs_of(client: MlflowClient, experiment: str = "dti") -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id])


def new_evaluation(project: Path) -> None:
    path = project / "reports/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auc": 0.8}))


def test_a_run_holds_params_metrics_curves_and_artifacts(project: Path, store: MlflowClient) -> None:
    place = record_run(record_of(project), "dti")
    assert place.new
    run = store.get_run(place.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["attention.policy"] == "isolated"
    assert run.data.metrics["auc"] == 0.75
    assert run.data.tags["dti.title"] == "Demo (generated)"
    curve = store.get_metric_history(place.run_id, "curve/train_loss")
    assert [(point.step, point.value) for point in curve] == [(80, 0.6), (160, 0.5)]
    assert curve[1].timestamp - curve[0].timestamp == 36_000, "a hundredth of an hour, in milliseconds"
    home = Path(store.download_artifacts(place.run_id, ""))
    assert (home / "reports/plots/roc.csv").exists()
    assert (home / "params.yaml").exists()
    assert not (home / "adapter").exists(), "the model has it"


def test_twice_is_one_run_and_new_metrics_are_a_new_one(project: Path, store: MlflowClient) -> None:
    first = record_run(record_of(project), "dti")
    second = record_run(record_of(project), "dti")
    assert (second.run_id, second.new) == (first.run_id, False)
    assert find_run(record_of(project).key, "dti") == second
    new_evaluation(project)
    assert find_run(record_of(project).key, "dti") is None
    assert record_run(record_of(project), "dti").new
    assert len(runs_of(store)) == 2


def test_another_experiment_is_another_record(project: Path, store: MlflowClient) -> None:
    record_run(record_of(project), "dti")
    assert record_run(record_of(project), "other").new
    assert (len(runs_of(store)), len(runs_of(store, "other"))) == (1, 1)


def test_a_killed_recording_is_replaced(project: Path, store: MlflowClient, start: Start) -> None:
    killed = start("-c", KILLED_AT_THE_END)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    [half] = runs_of(store)
    assert half.info.status == "RUNNING"
    assert find_run(record_of(project).key, "dti") is None
    place = record_run(record_of(project), "dti")
    assert [run.info.run_id for run in runs_of(store)] == [place.run_id] != [half.info.run_id]


def test_half_a_database_is_never_left(project: Path, start: Start) -> None:
    killed = start("-c", KILLED_IN_THE_MIDDLE_OF_MAKING_TABLES)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not Path(tracking_uri().removeprefix("sqlite:///")).exists()


def test_many_params_and_metrics_are_logged_in_batches(project: Path, store: MlflowClient) -> None:
    record = record_of(project)
    wide = {f"m{number}": float(number) for number in range(2001)}
    place = record_run(Record(**{**vars(record), "metrics": wide, "params": {n: str(v) for n, v in wide.items()}}), "a")
    data = store.get_run(place.run_id).data
    assert data.params == {name: str(value) for name, value in wide.items()}
    assert wide.items() <= data.metrics.items()


def test_four_processes_may_be_the_first(project: Path, start: Start) -> None:
    """Also that a lost database is rebuilt by the same command."""
    racers = [start() for _ in range(4)]
    outputs = [racer.communicate() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4, outputs
    assert sum("(recorded now)" in out for out, _ in outputs) == 1
    database = Path(tracking_uri().removeprefix("sqlite:///"))
    database.unlink()
    again = start()
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "(recorded now)" in out
    assert "model                0.7500 [0.7400, 0.7600]" in out
    assert err == "", "no chatter"
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (1,)


def test_an_unreachable_server_is_named_and_the_next_run_repairs_it(
    project: Path, store: MlflowClient, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    stage = start()
    _, err = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert err.startswith("ERROR: MLflow at http://127.0.0.1:1 did not answer")
    assert "Traceback" not in err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert record_run(record_of(project), "dti").new


def test_a_file_that_is_no_database_is_named(project: Path) -> None:
    Path(tracking_uri().removeprefix("sqlite:///")).write_text("no database, " * 100)
    with pytest.raises(DtiError, match=r"mlflow\.db did not answer or refused: .*not a database"):
        record_run(record_of(project), "dti")


def test_an_experiment_deleted_in_mlflow_is_named(project: Path, store: MlflowClient) -> None:
    place = record_run(record_of(project), "dti")
    store.delete_experiment(place.experiment_id)
    with pytest.raises(DtiError, match=r"track\.experiment: 'dti' was deleted in MLflow"):
        record_run(record_of(project), "dti")


def test_artifacts_do_not_go_to_the_folder_that_a_copy_was_made_from(
    project: Path, store: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record_run(record_of(project), "dti")
    shutil.copytree(tmp_path / "a home", tmp_path / "copy")
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "copy"))
    with pytest.raises(DtiError, match=r"keeps its artifacts in file://.*a%20home"):
        record_run(record_of(project), "dti")


def test_the_place_is_described_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    web = describe(Place("https://me:secret@host/mlflow", "dti", "3", "abc", new=False))
    assert "https://me:***@host/mlflow/#/experiments/3/runs/abc" in web
    assert "secret" not in web
    local = describe(Place("sqlite:////a b/mlflow.db", "dti", "3", "abc", new=True))
    assert "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db' --host 127.0.0.1" in local
    assert local.startswith("MLflow run  abc (recorded now)")


def test_the_database_lies_where_asked(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tracking_uri() == f"sqlite:///{tmp_path / 'a home/mlflow/mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.tracking_uri() == "http://127.0.0.1:5000"


def test_result_prints_table_and_place(project: Path, store: MlflowClient, start: Start) -> None:
    """The command finds the record of these very results, and says so where there is none."""
    record_run(record_of(project), "dti")
    out, err = start("-m", "dti", "result").communicate()
    assert "Demo (generated): stream, k = all" in out, err
    assert "(recorded before)" in out
    new_evaluation(project)
    out, err = start("-m", "dti", "result").communicate()
    assert "MLflow run  none yet" in out, err
