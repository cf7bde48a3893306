"""Train LLMs for click-through-rate prediction fast, with leakage-free Dynamic Target Isolation (DTI)."""

import os

__version__ = "0.1.0"

# Telemetry of every tool is off, however the code is started.
for _name, _value in {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_name, _value)
