"""The flow `apply`: `python -m dti apply RUN` for those who use no terminal."""

from prefect import flow

from dti.apply import apply_run
from flows.runs import folder


@flow(
    name="apply",
    description="Bring a finished run's parameters, dvc.lock, reports and outputs into the project's own folder.",
    log_prints=True,
)
def apply(run: str) -> None:
    """Apply a run.

    Args:
        run: The run's id, or as much of its beginning as is unique.
    """
    apply_run(folder(), run)
