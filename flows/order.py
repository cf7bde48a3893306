"""The stages that a target needs, in the order in which DVC itself would run them; dvc.yaml is the only graph."""

import json
import subprocess
import sys
from pathlib import Path

from dti.errors import DtiError

# In a process of its own: DVC resolves targets against the current folder, and keeps its settings.
ASK = """
import json, sys
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
with Repo() as repo:
    stages = plan_repro(repo.index.graph, repo.stage.collect(sys.argv[1]))
    print(json.dumps([stage.addressing for stage in stages]))
"""


def stages_of(folder: Path, target: str) -> list[str]:
    """What DVC calls the stages up to ``target``, in ``folder``: ``data/dvc.yaml:fetch@demo``, ``prepare`` ...

    Raises:
        DtiError: DVC finds no such pipeline.
    """
    done = subprocess.run([sys.executable, "-c", ASK, target], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise DtiError(f"{folder}: DVC does not find the stages up to {target!r}: {reason[0]}")
    return list(json.loads(done.stdout.splitlines()[-1]))


def is_fetch(stage: str) -> bool:
    """Whether a stage brings raw data: data/dvc.yaml holds nothing else."""
    return stage.startswith("data/dvc.yaml:")
