"""What a run of the UI costs beside its stages: the seconds of runs in which all is cached, and of a cancellation.

    make up                                     # in another terminal
    python benchmarks/overhead.py --runs 3

The first run, with a tiny model and a seed of its own, computes; the same parameters again are cached. Times are
Prefect's own. `waited`: from the click to the flow's start; `stages`: DVC finding out that nothing is to be done, task
by task; `other`: the workspace, the results, the process's end. `total` is what the user waits, from the click to
Completed, and all of it is overhead, as nothing is computed. The cancellation: from the click, while it trains, to
Cancelled, by when the training's process has ended.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, from any folder

from dti.errors import DtiError, run_or_exit  # noqa: E402
from dti.files import write_json  # noqa: E402
from dti.git import commit_of  # noqa: E402
from flows.api import ENDED, Api  # noqa: E402

SMALL = {
    "demo": {"users": 60, "interactions": 600, "items": 40},
    "model": {"tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 320}},
    "evaluate": {"bootstrap": 50},
    "track": {"experiment": "overhead", "register": False},
}
ONCE = {"epochs": 1, "targets_per_step": 64, "valid_targets": 500}
LONG = {"epochs": 1000, "patience": 0, "targets_per_step": 8, "valid_targets": 500}
PARTS = ("waited", "stages", "other", "total")


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask again and again.

    Raises:
        DtiError: it did not come true in time.
    """
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise DtiError(f"{what} did not happen within {seconds:.0f} seconds")
        time.sleep(0.1)


def start(api: Api, train: Mapping[str, Any]) -> str:
    """Create a run of the deployment ``train`` as the UI does; returns its id.

    Raises:
        DtiError: no such deployment is served there.
    """
    found = api.call("POST", "/deployments/filter", {"deployments": {"name": {"any_": ["train"]}}})
    if not found:
        raise DtiError("no deployment `train` there; is `make up` running?")
    body = {"parameters": {"params": SMALL | {"train": dict(train)}}, "state": {"type": "SCHEDULED"}}
    return str(api.call("POST", f"/deployments/{found[0]['id']}/create_flow_run", body)["id"])


def completed(api: Api, run: str) -> dict[str, float]:
    """Wait for a run's end; its seconds by PARTS.

    Raises:
        DtiError: it did not complete.
    """
    wait_until(lambda: api.call("GET", f"/flow_runs/{run}")["state_type"] in ENDED, 600, f"the end of run {run}")
    found = api.call("GET", f"/flow_runs/{run}")
    if found["state_type"] != "COMPLETED":
        raise DtiError(f"run {run}: {found['state_name']}: {found['state']['message']}")
    clicked, began, ended = (datetime.fromisoformat(found[key]) for key in ("created", "start_time", "end_time"))
    tasks = api.call("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
    stages = sum(float(task["total_run_time"]) for task in tasks)
    total = (ended - clicked).total_seconds()
    waited = (began - clicked).total_seconds()
    return {"waited": waited, "stages": stages, "other": total - waited - stages, "total": total}


def cancelled(api: Api, seed: int) -> float:
    """Cancel a run while it trains; seconds until it is Cancelled."""
    run = start(api, LONG | {"seed": seed})
    body = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": ["progress-train"]}}}
    wait_until(lambda: bool(api.call("POST", "/artifacts/filter", body)), 300, "the training")
    began = time.monotonic()
    api.set_state(run, {"type": "CANCELLING"})
    wait_until(lambda: api.call("GET", f"/flow_runs/{run}")["state_type"] == "CANCELLED", 120, "the cancellation")
    return time.monotonic() - began


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="http://127.0.0.1:4200", help="of Prefect's UI")
    parser.add_argument("--runs", type=int, default=3, help="cached runs to measure")
    parser.add_argument("--json", type=Path, help="keep the seconds there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    options = parse(arguments)
    api = Api(options.address)
    if not api.healthy():
        raise DtiError(f"no Prefect server answers at {options.address}; is `make up` running?")
    seed = int(time.time())
    first = completed(api, start(api, ONCE | {"seed": seed}))
    print(f"the run that computes: {first['total']:.1f} s, of which stages {first['stages']:.1f} s\n")
    print("cached run | " + " | ".join(f"{part:>8}" for part in PARTS))
    rows = []
    for number in range(1, options.runs + 1):
        rows.append(completed(api, start(api, ONCE | {"seed": seed})))
        print(f"{number:10} | " + " | ".join(f"{rows[-1][part]:6.1f} s" for part in PARTS), flush=True)
    print("    median | " + " | ".join(f"{median(row[part] for row in rows):6.1f} s" for part in PARTS))
    found = {"first": first, "cached": rows, "cancelled": cancelled(api, seed), "commit": commit_of(ROOT)}
    print(f"\na cancellation: {found['cancelled']:.1f} s until Cancelled")
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    run_or_exit(main)
