"""The flow `promote`: `python -m dti promote` for those who use no terminal; a refusal is an outcome, not a crash."""

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.states import Completed

from dti.home import ROOT
from dti.params import load_params


@flow(
    name="promote",
    description="Make a version the champion, if the rule of params.yaml allows it; else it is the challenger.",
    log_prints=True,
)
def promote(dataset: str = "", version: str = "", force: bool = False) -> State[None]:
    """Decide about a version of the model of a data set; the run ends as Promoted, Refused, Forced or Unchanged.

    Args:
        dataset: Whose model, dti-ctr-NAME, as data.name names it; empty: that of params.yaml.
        version: Its number or alias; empty: the newest.
        force: Promote it whatever the rule says; this is recorded.
    """
    from dti.registry.gate import COLUMNS, decision_table, row_of  # MLflow takes seconds to load
    from dti.registry.gate import promote as decide
    from dti.registry.versions import model_name

    params = load_params(ROOT / "params.yaml")
    name = model_name(dataset or params.data.name)
    decision = decide(name, params.promote, version.strip() or None, force=force)
    rows = [dict(zip(COLUMNS, row_of(check), strict=True)) for check in decision.checks]
    create_table_artifact(rows, key="checks", description="What the rule asks for, and whether it holds")
    text = f"# {name} version {decision.version}: {decision.verdict}\n\n```\n{decision_table(decision)}\n```\n"
    create_markdown_artifact(text, key="decision", description="The decision, its numbers and its reasons")
    reasons = "; ".join(decision.reasons) or decision_table(decision).splitlines()[-1]
    return Completed(name=decision.verdict.capitalize(), message=f"version {decision.version}: {reasons}")
