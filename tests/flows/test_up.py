import json
import socket
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from dti.errors import DtiError
from dti.files import locked, write_json
from flows import up as module
from flows.api import WATCHED, Api
from flows.settings import Servers


@pytest.fixture(autouse=True)
def environment_stays(monkeypatch):
    monkeypatch.setattr(module.os, "environ", dict(module.os.environ))


def test_a_second_make_up_says_that_one_runs(home):
    write_json(home / "up.json", {"prefect": "http://127.0.0.1:4200"})
    with locked(home / "up.lock"), pytest.raises(DtiError, match="runs already: http://127.0.0.1:4200; stop that one"):
        module.up(Servers())


def test_a_taken_port_is_named_before_anything_starts(home, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DtiError, match=f"port {port} of 127.0.0.1 is taken by another program"):
            module.up(Servers(prefect_port=port))
    assert not (home / "up.json").exists()
    assert not list((home / "up").iterdir())


def test_everything_stays_on_this_machine_and_below_home(home):
    variables = Servers().environment()
    assert variables["PREFECT_HOME"] == f"{home}/prefect"
    assert variables["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert variables["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert "MLFLOW_TRACKING_URI" not in variables
    for child in module.Up(Servers()).children:
        words = child.command
        assert "--host" not in words or words[words.index("--host") + 1] == "127.0.0.1"


def test_a_record_elsewhere_needs_no_server_of_ours(home, monkeypatch):
    monkeypatch.setitem(module.os.environ, "MLFLOW_TRACKING_URI", "http://me:secret@mlflow.example:80")
    home.mkdir()
    assert [child.name for child in module.Up(Servers()).children] == ["prefect", "training", "release", "others"]
    assert Servers().mlflow == "http://mlflow.example:80"


def test_what_ends_again_and_again_is_given_up(tmp_path):
    child = module.Child("x", ("nothing",), tmp_path)
    child.start = lambda: None
    for _ in range(module.RESTARTS):
        child.restart()
    with pytest.raises(DtiError, match="x ended 6 times; see .*x.log"):
        child.restart()


class Server:
    """Answers what Prefect's server would; ``runs`` by state type."""

    def __init__(self):
        self.runs, self.sent, self.busy = {}, [], 0

    def __call__(self, request):
        if self.busy:
            self.busy -= 1
            return httpx.Response(503)
        body = json.loads(request.content or "null")
        if request.url.path.endswith("/flow_runs/filter"):
            states = body["flow_runs"]["state"]["type"]["any_"]
            return httpx.Response(200, json=[run for state in states for run in self.runs.get(state, [])])
        if request.url.path.endswith("/automations/filter"):
            return httpx.Response(200, json=[])
        self.sent.append((request.method, request.url.path, body))
        return httpx.Response(201, json={})


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def api(server, monkeypatch):
    monkeypatch.setattr("flows.api.time.sleep", lambda seconds: None)
    made = Api("http://127.0.0.1:1")
    made.client = httpx.Client(base_url="http://127.0.0.1:1/api", transport=httpx.MockTransport(server))
    return made


def run(name, state="Scheduled", ago=60, deployment="d"):
    when = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    return {"id": name, "state_name": state, "next_scheduled_start_time": when, "deployment_id": deployment}


def test_runs_that_wait_for_the_slot_are_shown_as_queued(api, server):
    server.runs = {
        "RUNNING": [run("first")],
        "SCHEDULED": [
            run("late", "Late"),
            run("new", ago=0),
            run("waits"),
            run("named", "Queued"),
            run("future", ago=-99),
        ],
    }
    api.name_queue(["train"], 1)
    assert [(path, body["state"]["name"]) for _, path, body in server.sent] == [
        ("/api/flow_runs/late/set_state", "Queued"),
        ("/api/flow_runs/waits/set_state", "Queued"),
    ]
    assert "one at a time" in server.sent[0][2]["state"]["message"]


def test_with_a_free_slot_nobody_waits(api, server):
    """A sweep's cells run within its slot."""
    server.runs = {"RUNNING": [run("cell", deployment=None)], "SCHEDULED": [run("next")]}
    api.name_queue(["train", "sweep"], 1)
    assert not server.sent


def test_runs_of_a_process_that_is_gone_count_as_crashed(api, server):
    server.runs = {"RUNNING": [run("a")], "CANCELLING": [run("b")], "SCHEDULED": [run("c")]}
    assert api.end_left_over(["train"]) == 2
    assert {(path, body["state"]["type"], body["force"]) for _, path, body in server.sent} == {
        ("/api/flow_runs/a/set_state", "CRASHED", True),
        ("/api/flow_runs/b/set_state", "CRASHED", True),
    }


def test_a_busy_database_is_asked_again(api, server):
    server.busy = 2
    api.watch_for_crashes()
    assert server.sent == [("POST", "/api/automations/", WATCHED)]
    server.busy = 9
    with pytest.raises(httpx.HTTPStatusError):
        api.watch_for_crashes()


def test_a_silent_run_is_noticed_within_three_minutes():
    from prefect.events.schemas.automations import AutomationCore

    automation = AutomationCore.model_validate(WATCHED)
    beats = int(Servers().environment()["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert 2 * beats < automation.trigger.within.total_seconds() <= 120
