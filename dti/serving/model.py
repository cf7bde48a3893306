"""The MLflow model of a version (models from code): log it with the artifact ``bundle`` and ``code_paths=["dti"]``.

It imports only what the core needs, beside MLflow itself: a version carries this code with it.
"""

from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from dti.errors import DtiError
from dti.serving.scorer import Scorer


class DtiModel(PythonModel):
    """Answers requests; see ``dti/serving/requests.py`` for what one is. ``model_config`` may name a ``device``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle.

        Raises:
            DtiError: it is damaged, or does not fit its base model.
        """
        from pathlib import Path

        device = (context.model_config or {}).get("device", "auto")
        self.scorer = Scorer.open(Path(context.artifacts["bundle"]), device)

    def predict(self, context: PythonModelContext, model_input: list[dict[str, Any]], params: Any = None) -> list[Any]:
        """Answer each request with ``{"scores": [...]}``, a probability per candidate.

        Raises:
            MlflowException: a request is wrong (HTTP status 400); names it and the field.
        """
        try:
            return [{"scores": scores.tolist()} for scores in self.scorer.score(_requests(model_input))]
        except DtiError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None


def _requests(model_input: Any) -> Any:
    """A list of requests from what MLflow hands over: a data frame, one request, or a list of them."""
    if hasattr(model_input, "to_dict"):
        return model_input.to_dict(orient="records")
    return [model_input] if isinstance(model_input, dict) else model_input


mlflow.models.set_model(DtiModel())
