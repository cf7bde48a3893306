"""The flow `train`: one run of the pipeline, with the parameters of the form."""

from prefect import flow
from prefect.runtime import flow_run

from dti.home import ROOT
from flows.form import EMPTY, Form
from flows.parameters import merged, read_values
from flows.pipeline import run_pipeline
from flows.result import show


@flow(name="train", description="Train and evaluate a model: every stage of dvc.yaml, with the parameters of the form.")
def train(params: Form = EMPTY) -> None:
    """Run the pipeline in a workspace of its own.

    Args:
        params: What to change; an empty field keeps the value of params.yaml.
    """
    run = str(flow_run.id)
    show(run_pipeline(merged(read_values(ROOT), params), run), run)
