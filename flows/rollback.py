"""The flow `rollback`: `python -m dti rollback` for those who use no terminal."""

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed

from dti.home import ROOT
from dti.params import load_params


@flow(name="rollback", description="The previous champion is champion again; a second one takes the first back.")
def rollback(dataset: str = "") -> State[None]:
    """Let champion and previous champion of the model of a data set change places.

    Args:
        dataset: Whose model, dti-ctr-NAME, as data.name names it; empty: that of params.yaml.
    """
    from dti.registry.gate import rollback as go_back  # MLflow takes seconds to load
    from dti.registry.gate import rollback_table
    from dti.registry.versions import model_name

    done = go_back(model_name(dataset or load_params(ROOT / "params.yaml").data.name))
    table = rollback_table(done)
    create_markdown_artifact(f"```\n{table}\n```\n", key="rollback", description="Where the aliases point now")
    return Completed(name="Rolled back", message=table.splitlines()[0])
