"""The MLflow model: logged with its code, loaded again, called and served over HTTP."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

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
