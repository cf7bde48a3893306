"""The record of runs in MLflow, made from the plain files that the stages leave.

MLflow reads its settings when it is imported, so they are set here: no chatter, and an unreachable
server is reported in seconds. What the user has set stays.
"""

import os

SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
