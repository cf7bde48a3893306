"""`make up` as people use it: runs created over REST as the UI does, watched, cancelled, killed, queued."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
import yaml

from dti.files import digest_of, read_json
from dti.home import ROOT
from tests.flows.served import LONG, SMALL, Served, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

USERS = ("params.yaml", "dvc.lock", "data", "reports", "models")


@pytest.fixture(scope="module")
def copy(make_copy):
    return Served(make_copy(git=False))


@pytest.fixture(scope="module")
def up_process(copy):
    with copy.up() as process:
        yield process


@pytest.fixture(scope="module")
def served(copy, up_process):
    return copy


@pytest.fixture(scope="module")
def first(served):
    """A finished run with other parameters than params.yaml's, and the digest of the user's tree before it."""
    before = digest_of(served.folder / name for name in USERS if (served.folder / name).exists())
    run = served.start(params=SMALL)
    assert served.ended(run) == "Completed", served.said(run)
    return run, before


@pytest.fixture
def again(served, first):
    """The first run once more, from the cache: its own folder may be pruned by now."""
    run = served.start(params=SMALL)
    assert served.ended(run) == "Completed", served.said(run)
    return run


def test_a_run_from_the_form_is_recorded_and_leaves_the_users_tree_alone(served, first):
    run, before = first
    assert digest_of(served.folder / name for name in USERS if (served.folder / name).exists()) == before
    recorded = [r for r in served.mlflow_runs() if r.data.params["demo.users"] == "60"]
    assert len(recorded) == 1
    assert recorded[0].data.params["train.epochs"] == "1"
    assert recorded[0].data.params["pack.n"] == "20", "from params.yaml"
    tasks = served.api.call("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert {task["name"] for task in tasks} == {
        "data/dvc.yaml:fetch@demo", "prepare", "pack", "train", "evaluate", "report", "track"
    }  # fmt: skip
    assert any(line.startswith("epoch 1/1: ") for line in served.said(run))
    found = served.artifacts(run)
    rows = json.loads(found["metrics"]["data"])
    assert [row["scores of"] for row in rows] == ["model", "popularity", "logistic regression", "oracle"]
    link = f"http://127.0.0.1:{served.ports[1]}/#/experiments/1/runs/{recorded[0].info.run_id}"
    assert link in found["report"]["data"]
    assert found["progress-train"]["data"] == 100.0


@pytest.mark.parametrize("cleaned", [False, True])
def test_the_same_run_again_computes_nothing(served, first, cleaned):
    if cleaned:
        command = [sys.executable, "-m", "dti", "clean"]
        subprocess.run(command, cwd=served.folder, env=served.environment, check=True)
    run = served.start(params=SMALL)
    assert served.ended(run) == "Completed"
    log = served.log(run)
    assert log.count("is cached - skipping run") == 6
    assert "Running stage 'train'" not in log
    assert len([r for r in served.mlflow_runs() if r.data.params["demo.users"] == "60"]) == 1


def test_the_benchmark_of_the_overhead_prints_its_table(served):
    command = [sys.executable, ROOT / "benchmarks" / "overhead.py", "--address", served.api.address, "--runs", "1"]
    done = subprocess.run(command, env=served.environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if " | " in line]
    assert [row[0].strip() for row in rows] == ["cached run", "1", "median"]
    assert rows[1][1:] == rows[2][1:]
    assert "until Cancelled" in done.stdout


@pytest.mark.parametrize(
    ("given", "words"),
    [({"pack": {"n": 0}}, "0 is less than the minimum of 1"), ({"pack": {"m": 1}}, "m")],
)
def test_the_form_refuses_wrong_values(served, given, words):
    with pytest.raises(httpx.HTTPStatusError) as caught:
        served.start(params=given)
    assert caught.value.response.status_code == 409
    assert words in caught.value.response.text


def test_parameters_that_do_not_agree_fail_before_any_work_in_the_words_of_params_yaml(served):
    run = served.start(params={"attention": {"layout": "unique", "policy": "window"}})
    assert served.ended(run) == "Failed"
    assert "attention.layout unique needs policy isolated" in served.run(run)["state"]["message"]
    assert not (served.home / "runs" / run).exists()


def test_make_up_twice_says_so(served):
    done = subprocess.run(served.command(), cwd=served.folder, env=served.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"`make up` runs already: http://127.0.0.1:{served.ports[0]}" in done.stderr
    assert served.api.healthy()


def test_cancel_ends_the_training_and_the_next_run_resumes(served):
    run = served.start(params=LONG)
    training = served.training(run)
    waiting = served.start(params=SMALL)
    wait_for(lambda: served.state(waiting) == "Queued", 60, "the queue")
    for other in (served.start("apply", run="no such run"), served.start("promote", dataset="table")):
        assert served.ended(other, 120) == "Failed", "another deployment waits for no training"
    assert "dti-ctr-table: no version is registered" in served.run(other)["state"]["message"]
    assert served.state(run) == "Running"
    moved = wait_for(lambda: served.artifacts(run).get("progress-train"), 60, "progress")["data"]
    assert 0 < moved < 100
    wait_for(lambda: moved < served.artifacts(run)["progress-train"]["data"] < 100, 60, "more progress")
    began = time.monotonic()
    served.api.set_state(run, {"type": "CANCELLING"})
    wait_for(lambda: not training.is_running(), 60, "the end of the training")
    assert time.monotonic() - began < 30, "10 seconds on a machine that is free"
    assert served.ended(run) == "Cancelled"
    assert served.checkpoints()
    assert served.ended(waiting) == "Completed"
    again = served.start(params=LONG)
    wait_for(lambda: "resumed at epoch" in served.log(again), 600, "the resumed training")
    served.api.set_state(again, {"type": "CANCELLING"})
    assert served.ended(again) == "Cancelled"


def test_a_killed_flow_crashes_its_training_ends_and_it_can_be_run_again(served):
    run = served.start(params=LONG)
    training = served.training(run)
    [flow] = served.processes("prefect.engine")
    flow.kill()
    assert served.ended(run, 180) == "Crashed"
    wait_for(lambda: not training.is_running(), 60, "the end of the training")
    again = served.start(params=LONG)
    wait_for(lambda: "resumed at epoch" in served.log(again), 600, "the resumed training")
    served.api.set_state(again, {"type": "CANCELLING"})
    assert served.ended(again) == "Cancelled"


def test_a_killed_flow_without_its_runner_crashes_and_others_go_on(served):
    run = served.start(params=LONG)
    training = served.training(run)
    for process in served.processes("flows.serve training") + served.processes("prefect.engine"):
        process.kill()
    assert served.ended(run, 180) == "Crashed"
    wait_for(lambda: not training.is_running(), 60, "the end of the training")
    assert served.ended(served.start(params=SMALL)) == "Completed"


def test_a_run_that_nobody_can_report_on_crashes_by_its_silence(served, up_process):
    """Flow and runner killed, and `make up` stopped: only Prefect's server is left to notice."""
    run = served.start(params=LONG)
    training = served.training(run)
    up_process.send_signal(signal.SIGSTOP)
    try:
        for process in served.processes("flows.serve training") + served.processes("prefect.engine"):
            process.kill()
        began = time.monotonic()
        assert served.ended(run, 300) == "Crashed"
        assert "no sign of life" in served.run(run)["state"]["message"]
        assert time.monotonic() - began < 180
        assert not training.is_running()
    finally:
        up_process.send_signal(signal.SIGCONT)
    assert served.ended(served.start(params=SMALL)) == "Completed"


def test_a_killed_dvc_fails_its_run_and_leaves_no_training(served):
    run = served.start(params=LONG)
    training = served.training(run)
    [dvc] = [p for p in served.processes("dvc repro") if p.pid != os.getpid()]
    dvc.kill()
    assert served.ended(run, 180) == "Failed"
    assert "ended with exit code 137" in served.run(run)["state"]["message"]
    wait_for(lambda: not training.is_running(), 60, "the end of the training")
    assert served.checkpoints()


def test_a_deleted_cache_file_is_made_again(served, first):
    cache = served.folder / ".dvc/cache/files/md5"
    lock = yaml.safe_load((served.home / "runs" / first[0] / "dvc.lock").read_text())
    [adapter] = [out["md5"] for out in lock["stages"]["train"]["outs"] if out["path"] == "models/adapter"]
    (cache / adapter[:2] / adapter[2:]).unlink()
    run = served.start(params=SMALL)
    assert served.ended(run) == "Completed"
    assert "Running stage 'train'" in served.log(run)


def test_a_stopped_mlflow_server_loses_nothing(served):
    run = served.start(params=SMALL | {"train": SMALL["train"] | {"seed": 77}})
    wait_for(lambda: served.state(run) == "Running", 120)
    for process in served.processes("mlflow server"):
        process.kill()
    assert served.ended(run) == "Completed"
    assert [r for r in served.mlflow_runs() if r.data.params["train.seed"] == "77"]
    health = f"http://127.0.0.1:{served.ports[1]}/health"

    def back():
        try:
            return httpx.get(health).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(back, 120, "the MLflow server")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which needs root")
def test_a_full_disk_fails_a_run_before_any_work_and_the_next_one_finishes(served, first):
    runs = served.home / "runs"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(runs)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        run = served.start(params=SMALL)
        assert served.ended(run) == "Failed"
        message = served.run(run)["state"]["message"]
        assert "0.1 GiB of disk are free, and a run needs 2 GiB; nothing was begun" in message
        assert not (runs / run).exists()
    finally:
        subprocess.run(["umount", str(runs)], check=True)
    assert (runs / first[0] / "reports/metrics.json").is_file()
    assert served.ended(served.start(params=SMALL)) == "Completed"


def test_ten_runs_at_once_finish_one_at_a_time(served, first):
    runs = [served.start(params=SMALL | {"evaluate": {"bootstrap": 51 + n}}) for n in range(10)]
    assert [served.ended(run, 1500) for run in runs] == ["Completed"] * 10
    times = sorted((served.run(run)["start_time"], served.run(run)["end_time"]) for run in runs)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


def test_a_sweep_survives_a_failed_cell_and_names_its_winner(served, first):
    over = {"train": {"seed": [11, 12]}, "model": {"backbone": ["tiny", "/no/such/folder"]}}
    run = served.start("sweep", params=SMALL, over=over, name="two seeds")
    assert served.ended(run) == "Failed"
    assert "2 of 4 cells failed" in served.run(run)["state"]["message"]
    rows = json.loads(served.artifacts(run)["sweep"]["data"])
    assert sorted(row["outcome"] for row in rows) == ["done", "failed", "failed", "winner"]
    winner = next(row for row in rows if row["outcome"] == "winner")
    assert winner["validation AUC"] == max(row["validation AUC"] or 0 for row in rows)
    [parent] = [r for r in served.mlflow_runs() if "dti.winner" in r.data.tags]
    children = served.mlflow_runs(**{"mlflow.parentRunId": parent.info.run_id})
    assert len(children) == 2
    assert parent.data.tags["dti.winner"] in {child.info.run_id for child in children}
    assert parent.data.tags["dti.winner_cell"] == winner["cell"]
    versions = {version.run_id: version.version for version in served.versions()}
    said = f"Its version in the registry: models:/dti-ctr-demo/{versions[parent.data.tags['dti.winner']]}\n"
    assert said in served.artifacts(run)["winner"]["data"]
    assert len({child.info.run_id for child in children} & set(versions)) == 1, "no other cell has a version"


def cells_of(served, sweep):
    """The runs of a sweep's cells: those that any of its tasks stands for."""
    body = {"flows": {"name": {"any_": ["cell"]}}, "sort": "START_TIME_DESC"}
    parent = {
        task["id"] for task in served.api.call("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [sweep]}}})
    }
    return [run for run in served.api.call("POST", "/flow_runs/filter", body) if run["parent_task_run_id"] in parent]


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_sweep_that_ends_early_takes_its_cell_and_the_training_with_it(served, how):
    run = served.start("sweep", params=LONG, over={"train": {"seed": [21, 22]}}, name=how)
    wait_for(lambda: [cell for cell in cells_of(served, run) if served.log(cell["id"])], 120, "a cell")
    [cell] = cells_of(served, run)
    training = served.training(cell["id"])
    if how == "cancelled":
        served.api.set_state(run, {"type": "CANCELLING"})
    else:
        [flow] = served.processes("prefect.engine")
        flow.kill()
    assert served.ended(run, 180) == ("Cancelled" if how == "cancelled" else "Crashed")
    wait_for(lambda: not training.is_running(), 60, "the end of the training")
    assert served.ended(cell["id"], 180) in ("Cancelled", "Crashed")
    assert served.checkpoints()
    assert len(cells_of(served, run)) == 1, "the next cell does not begin"


def test_versions_are_promoted_refused_and_rolled_back_from_the_ui(served, again):
    """Of so few test targets no gain is beyond doubt, so that the second version is refused."""
    old = next(version.version for version in served.versions() if version.tags["dti.key"] == served.key(again))
    run = served.start(params=SMALL | {"train": SMALL["train"] | {"seed": 88}})
    assert served.ended(run) == "Completed"
    forced = served.start("promote", version=str(old), force=True)
    assert served.ended(forced) in ("Forced", "Promoted"), served.said(forced)
    assert f"champion: version {old}" in served.artifacts(forced)["decision"]["data"]

    refused = served.start("promote")
    assert served.ended(refused) == "Refused", served.said(refused)
    assert served.run(refused)["state_type"] == "COMPLETED"
    assert ": AUC: " in served.run(refused)["state"]["message"]
    checks = json.loads(served.artifacts(refused)["checks"]["data"])
    assert [row["check"] for row in checks] == ["AUC", "log loss", "ECE", "parity gap", "served scores"]
    assert served.ended(served.start("rollback")) == "Failed", "nothing is previous"

    assert served.ended(served.start("promote", force=True)) == "Forced"
    back = served.start("rollback", dataset="demo")
    assert served.ended(back) == "Rolled back"
    assert f"version {old} is champion again" in served.run(back)["state"]["message"]

    run = served.start(params=SMALL | {"train": SMALL["train"] | {"seed": 88}})
    assert served.ended(run) == "Completed"
    rows = json.loads(served.artifacts(run)["metrics"]["data"])
    assert rows[1]["scores of"] == f"champion, version {old}"
    assert rows[1]["AUC"] == round(read_json(served.home / "runs" / again / "reports/metrics.json")["auc"], 4)


def test_a_run_is_applied_from_the_ui(served, again):
    run = served.start("apply", run=again)
    assert served.ended(run) == "Completed"
    assert yaml.safe_load((served.folder / "params.yaml").read_text())["demo"]["users"] == 60
    assert read_json(served.folder / "reports/metrics.json")["dataset"] == "demo"
    assert (served.folder / "models/adapter/dti.json").is_file()
