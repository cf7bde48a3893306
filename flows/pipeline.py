"""One run: a workspace, a task per stage of dvc.yaml, and the result as artifacts."""

from collections.abc import Mapping
from contextvars import copy_context
from typing import Any, Protocol

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from dti.errors import DtiError
from dti.params import parse_params
from dti.workspace import Workspace
from flows import runs
from flows.order import is_fetch, stages_of
from flows.progress import share_of
from flows.result import Result, read_result

TARGET = "track"
RETRY_SECONDS: list[float] = [5, 30, 120]
"""A net may fail for a moment. Nothing else is tried again by itself: it would cost hours and fail for its reason."""


class Log(Protocol):
    """A logger's part that is used here."""

    def info(self, message: str) -> None:
        """Log a line."""


class Voice:
    """Takes what a stage says: every line to the log, progress to an artifact, errors to the state's message."""

    def __init__(self, stage: str, log: Log) -> None:
        self.key, self.log = f"progress-{stage.rsplit(':', 1)[-1]}".replace("@", "-"), log
        self.errors: list[str] = []
        self._artifact: Any = None
        self._shows = True
        self._context = copy_context()  # lines come in another thread, where Prefect knows of no task

    def __call__(self, text: str) -> None:
        """Take a line."""
        line = text.rstrip()
        if not line:
            return
        self.log.info(line)
        if self.errors or line.startswith("ERROR: "):
            self.errors.append(line)
        share = share_of(line)
        if share is not None and self._shows:
            self._context.run(self._try_to_show, share, line)

    def _try_to_show(self, share: float, line: str) -> None:
        try:
            self._show(share, line)
        except Exception as error:  # deleted in the UI, or the server is away: no reason to stop a training
            self._shows = False
            self.log.info(f"progress is not shown any more: {error}")

    def _show(self, share: float, line: str) -> None:
        if self._artifact is None:
            self._artifact = create_progress_artifact(progress=share, key=self.key, description=line)
        else:
            update_progress_artifact(self._artifact, progress=share, description=line)


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def run_stage(stage: str, workspace: Workspace) -> None:
    """`dvc repro --single-item STAGE` in the run's workspace.

    Raises:
        DtiError: the stage failed; with what it said.
    """
    voice = Voice(stage, get_run_logger())  # type: ignore[arg-type]
    try:
        workspace.run(["--single-item", stage], tell=voice)
    except DtiError as error:
        raise DtiError("\n".join([f"stage {stage} failed", *voice.errors, str(error)])) from None


def run_pipeline(parameters: Mapping[str, Any], run: str) -> Result:
    """Run every stage that these parameters need, and read what came out.

    Args:
        run: the flow run's id, which names the workspace.

    Raises:
        DtiError: wrong parameters, too little disk (both before any work), or a stage that failed.
    """
    parse_params(parameters, "params.yaml, with the values of the form")
    with runs.workspace_of(run) as workspace:
        workspace.make(parameters)
        for stage in stages_of(workspace.folder, TARGET):
            retries = RETRY_SECONDS if is_fetch(stage) else []
            run_stage.with_options(retries=len(retries), retry_delay_seconds=retries or 0)(stage, workspace)
        return read_result(workspace)
