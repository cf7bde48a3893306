"""The serving room: the bundle of a model version, requests, scores, the MLflow model."""
