"""Aliases in a real MLflow database, moved whole, also after a kill between any two calls."""

import signal
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from dti.registry.aliases import (
    JOURNAL,
    after_promotion,
    after_refusal,
    after_rollback,
    aliases_of,
    move,
)

MODEL = "dti-ctr-demo"

MOVES_AND_IS_KILLED = """
import os, signal, sys
from mlflow import MlflowClient
from dti.registry.aliases import move
calls = int(sys.argv[2])
def counted(original):
    def call(self, *arguments):
        global calls
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        calls -= 1
        return original(self, *arguments)
    return call
for name in ("set_registered_model_tag", "set_model_version_tag", "set_registered_model_alias",
             "delete_registered_model_alias", "delete_registered_model_tag"):
    setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
tags = {"2": {"gate.decision": "promoted"}}
move(MlflowClient(sys.argv[1]), "dti-ctr-demo", {"champion": "2", "previous": "1"}, tags)
print("moved")
"""


@pytest.fixture
def client(store: MlflowClient) -> MlflowClient:
    """Three versions; 1 is champion, 2 challenger."""
    store.create_registered_model(MODEL)
    for _ in range(3):
        store.create_model_version(MODEL, "file:///nowhere")
    move(store, MODEL, {"champion": "1", "challenger": "2"})
    return store


def test_a_move_sets_and_removes_aliases_and_tags(client: MlflowClient) -> None:
    client.set_registered_model_alias(MODEL, "mine", "3")
    assert aliases_of(client, MODEL) == {"champion": "1", "challenger": "2"}
    move(client, MODEL, {"champion": "2", "previous": "1"}, {"2": {"gate.decision": "promoted"}})
    assert aliases_of(client, MODEL) == {"champion": "2", "previous": "1"}
    assert client.get_model_version(MODEL, "2").tags == {"gate.decision": "promoted"}
    assert client.get_model_version_by_alias(MODEL, "mine").version in ("3", 3), "others' aliases stay"
    assert JOURNAL not in client.get_registered_model(MODEL).tags


@pytest.mark.parametrize("calls", range(6))
def test_a_move_killed_between_two_calls_is_finished_by_the_next(client: MlflowClient, calls: int) -> None:
    """Six calls: journal, tag, champion, challenger removed, previous, journal removed."""
    command = [sys.executable, "-c", MOVES_AND_IS_KILLED, client.tracking_uri, str(calls)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    begun = JOURNAL in client.get_registered_model(MODEL).tags
    assert begun == (calls > 0)
    after = {"champion": "2", "previous": "1"} if begun else {"champion": "1", "challenger": "2"}
    assert aliases_of(client, MODEL) == after
    assert client.get_model_version(MODEL, "2").tags == ({"gate.decision": "promoted"} if begun else {})
    assert JOURNAL not in client.get_registered_model(MODEL).tags


def test_the_kill_test_counts_all_calls(client: MlflowClient) -> None:
    command = [sys.executable, "-c", MOVES_AND_IS_KILLED, client.tracking_uri, "6"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "moved\n", done.stderr


def test_where_the_aliases_go() -> None:
    assert after_promotion({}, "1") == {"champion": "1"}
    assert after_promotion({"champion": "1", "challenger": "2"}, "2") == {"champion": "2", "previous": "1"}
    kept = after_promotion({"champion": "3", "previous": "1", "challenger": "2"}, "4")
    assert kept == {"champion": "4", "previous": "3", "challenger": "2"}
    assert after_promotion({"champion": "3", "previous": "1"}, "1") == {"champion": "1", "previous": "3"}
    assert after_refusal({"champion": "1", "challenger": "2"}, "3") == {"champion": "1", "challenger": "3"}
    assert after_rollback({"champion": "3", "previous": "1"}) == {"champion": "1", "previous": "3"}
