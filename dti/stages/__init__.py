"""One thin module per stage of dvc.yaml, run as ``python -m dti.stages.NAME`` in the project's folder."""
