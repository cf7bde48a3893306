"""The MLflow model: logged with its code, loaded again, called and served over HTTP."""

import json
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from benchmarks.server import Server
from dti.serving.scorer import Scorer

ROOT = Path(__file__).parents[2]
REQUEST = {"history": [{"item_id": "i1", "label": 1}, {"item_id": "i2", "label": 0}], "candidates": ["i3", "i4", "i3"]}


@pytest.fixture
def logged(project, tmp_path, monkeypatch):
    """``logged(**kind) -> (model's folder, expected scores of REQUEST)``: a saved model that carries its own code."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def make(**kind):
        bundle = project(**kind).write()
        folder = tmp_path / "model"
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(ROOT / "dti/serving/model.py"),
            artifacts={"bundle": str(bundle)},
            code_paths=[str(ROOT / "dti")],
            pip_requirements=["mlflow"],
        )
        return folder, Scorer.open(bundle, "cpu").score([REQUEST])[0]

    return make


def test_the_model_answers_in_this_process(logged):
    folder, expected = logged()
    model = mlflow.pyfunc.load_model(str(folder))
    (answer,) = model.predict([REQUEST])
    assert list(answer) == ["scores"]
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)
    with pytest.raises(MlflowException, match=r"request 1: candidates\[0\]: item 'x' is not in the catalogue"):
        model.predict([REQUEST, REQUEST | {"candidates": ["x"]}])


BAD = {
    "no candidates": (REQUEST | {"candidates": []}, "request 0: candidates: List should have at least 1 item"),
    "label": (
        REQUEST | {"history": [{"item_id": "i1", "label": 2}]},
        r"request 0: history[0].label: 2 is none of 0, 1",
    ),
    "unknown item": (REQUEST | {"candidates": ["x"]}, "request 0: candidates[0]: item 'x' is not in the catalogue"),
    "number as id": (REQUEST | {"candidates": [3]}, "request 0: candidates[0]: Input should be a valid string"),
    "text": ("hello", "Expected"),
    "extra": (REQUEST | {"k": 1}, "request 0: k: unknown key"),
    "NaN": (REQUEST | {"history": [{"item_id": "i1", "label": float("nan")}]}, "history[0].label"),
}


@pytest.mark.slow
def test_the_server_answers_refuses_and_comes_back(logged, tmp_path):
    folder, expected = logged()
    with Server(folder, tmp_path / "log.txt") as server:
        np.testing.assert_allclose(server.ask([REQUEST])[0]["scores"], expected, atol=1e-6)
        for request, message in BAD.values():
            status, answer = server.post(json.dumps({"inputs": [request]}).encode())
            assert status == 400
            assert message in answer["message"]
        for body in (b"", b"{", b"[]", b"null", b'{"inputs": 3}', b'{"history": []}', b"\xff\xfe"):
            status, _ = server.post(body)
            assert status == 400, body
        np.testing.assert_allclose(server.ask([REQUEST] * 3)[2]["scores"], expected, atol=1e-6)
        long = REQUEST | {"candidates": [f"n{i}" for i in range(10_000)]}
        long["items"] = {name: {"title": f"red lamp {name}"} for name in long["candidates"]}
        failed = []

        def ask():
            with pytest.raises(OSError):  # noqa: PT011
                server.ask([long])
            failed.append(True)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)
        server.kill()
        asking.join()
        assert failed
    with Server(folder, tmp_path / "log.txt") as server:
        np.testing.assert_allclose(server.ask([REQUEST])[0]["scores"], expected, atol=1e-6)
        assert len(server.ask([long])[0]["scores"]) == 10_000
