"""`python -m flows.serve GROUP`: offers a group's deployments in the UI and starts their runs; used by `make up`."""

import asyncio
import sys
from typing import Any

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.runner import Runner

from dti.home import ROOT
from flows.groups import GROUPS, Group


async def serve(group: Group) -> None:
    """Register the deployments, then start runs until this process is stopped."""
    runner = Runner(limit=group.slots, pause_on_shutdown=False)
    for name, entrypoint in group.entrypoints.items():
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
        deployment = await flow.ato_deployment(name, description=flow.description)
        deployment.entrypoint = entrypoint  # relative to the project, which may be moved
        await runner.aadd_deployment(deployment)
    await runner.start()


if __name__ == "__main__":
    assert ROOT.samefile("."), "run from the project's folder"
    try:
        asyncio.run(serve(GROUPS[sys.argv[1]]))
    except KeyboardInterrupt:
        sys.exit(130)
