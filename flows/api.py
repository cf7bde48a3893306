"""The few calls to Prefect's server that `make up` needs beside what Prefect itself does."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
UNDER_WAY = ("RUNNING", "PENDING", "CANCELLING")
GRACE = timedelta(seconds=3)
"""A run that waits no longer than this is about to be started."""

WATCHED = {
    "name": "a run that gives no sign of life has crashed",
    "description": "Made by `make up`. A running flow says every 30 seconds that it is alive.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "after": ["prefect.flow-run.heartbeat"],
        "expect": [
            "prefect.flow-run.heartbeat",
            *(f"prefect.flow-run.{state.capitalize()}" for state in (*ENDED, "CANCELLING")),
        ],
        "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 90,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": "The flow gave no sign of life for 90 seconds. Run it again: what is done is cached, and a "
            "training goes on from its checkpoint.",
        }
    ],
}
"""The automation for flows that were killed together with whoever could have noticed."""


class Api:
    """Prefect's REST interface.

    Args:
        address: of the UI, without ``/api``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = httpx.Client(base_url=f"{address}/api", timeout=30)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call; repeated while SQLite is busy (status 503).

        Raises:
            httpx.HTTPError: the server refused it or is gone.
        """
        for wait in (0.5, 1.0, 2.0, 0.0):
            answer = self.client.request(method, path, json=body)
            if answer.status_code != 503:
                break
            time.sleep(wait)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self.call("GET", "/health") is True
        except httpx.HTTPError:
            return False

    def runs(self, flows: Iterable[str], states: Iterable[str]) -> list[dict[str, Any]]:
        """The runs of these flows that are in one of these states, the oldest first."""
        body = {
            "flows": {"name": {"any_": list(flows)}},
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
            "sort": "EXPECTED_START_TIME_ASC",
        }
        return list(self.call("POST", "/flow_runs/filter", body))

    def set_state(self, run: str, state: Mapping[str, Any], force: bool = False) -> None:
        """Move a run to another state."""
        self.call("POST", f"/flow_runs/{run}/set_state", {"state": dict(state), "force": force})

    def watch_for_crashes(self) -> None:
        """Make or renew the automation for runs without a sign of life."""
        found = self.call("POST", "/automations/filter", {"automations": {"name": {"any_": [WATCHED["name"]]}}})
        if found:
            self.call("PUT", f"/automations/{found[0]['id']}", WATCHED)
        else:
            self.call("POST", "/automations/", WATCHED)

    def end_left_over(self, flows: Iterable[str]) -> int:
        """Call the runs crashed that were under way in a process that is no more; returns how many."""
        left = self.runs(flows, UNDER_WAY)
        message = "Its process is gone. Run it again: what is done is cached, and a training goes on."
        for run in left:
            self.set_state(run["id"], {"type": "CRASHED", "message": message}, force=True)
        return len(left)

    def name_queue(self, flows: Iterable[str], slots: int) -> None:
        """Show that due runs wait while all slots are taken: Prefect itself would call them late."""
        flows = list(flows)
        if len([run for run in self.runs(flows, UNDER_WAY) if run["deployment_id"]]) < slots:
            return
        due = datetime.now(UTC) - GRACE
        for run in self.runs(flows, ["SCHEDULED"]):
            when = run["next_scheduled_start_time"]
            if run["state_name"] in ("Scheduled", "Late") and when and datetime.fromisoformat(when) < due:
                details = {"scheduled_time": when}
                message = "Waits for the run before it: one at a time."
                state = {"type": "SCHEDULED", "name": "Queued", "message": message, "state_details": details}
                self.set_state(run["id"], state)
