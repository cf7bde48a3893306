"""The pipeline's own training and evaluation on packed data, without DVC, in a folder of its own; the core is enough.

    python benchmarks/pipeline.py data/packed .dti/gpu/training --summary .dti/gpu/training.txt
    python benchmarks/pipeline.py data/packed .dti/gpu/smollm2 --set model.backbone=MODEL model.tuning=lora \
        attention.layout=unique --no-plan --json smollm2.json

Parameters are those of params.yaml but for device, precision, epochs and what --set gives. The summary says how fast
the stages were, what waiting for rows, compiling and energy took, and how near `python -m dti plan --check` came;
--json keeps the reports of training, of evaluation and of parity.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, from any folder

from dti.errors import DtiError, run_or_exit  # noqa: E402
from dti.files import atomic_file, read_json, write_json  # noqa: E402
from dti.prompts.store import Store  # noqa: E402


@dataclass(frozen=True)
class StageFolder:
    """A folder in which stages run."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, packed: Path, changes: dict[str, Any]) -> "StageFolder":
        """The folder anew, with the packed data, params.yaml with other values, and reports/data.json.

        Args:
            changes: values by dotted name.

        Raises:
            DtiError: there is no packed data, or no such parameter.
        """
        meta = Store.open(packed).meta
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "packed").symlink_to(packed.resolve())
        params = changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        facts = {"dataset": meta.dataset, "title": meta.title, "official": meta.official}
        write_json(folder / "reports" / "data.json", facts)
        return cls(folder)

    def run(self, *module: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m MODULE ...`` there; what it prints is shown and returned."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout, end="", flush=True)
        return done

    def stage(self, name: str) -> float:
        """Run a stage; returns its seconds.

        Raises:
            DtiError: it failed.
        """
        began = time.perf_counter()
        if (done := self.run(f"dti.stages.{name}")).returncode:
            raise DtiError(f"stage {name} ended with {done.returncode}; what it printed stands above")
        return time.perf_counter() - began

    def report(self, name: str) -> dict[str, Any]:
        """reports/NAME.json."""
        return read_json(self.folder / "reports" / f"{name}.json")


def changed(params: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The parameters with other values, by dotted name; their types are checked by the stages.

    Raises:
        DtiError: there is no such parameter.
    """
    for name, value in changes.items():
        *sections, last = name.split(".")
        place = params
        for section in sections:
            place = place.get(section, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or last not in place:
            raise DtiError(f"--set {name}: params.yaml has no such parameter")
        place[last] = value
    return params


def summary(train: dict[str, Any], metrics: dict[str, Any], seconds: float, plan: str) -> str:
    """Lines on a run.

    Args:
        train, metrics: the reports.
        seconds: what evaluation took, its start included.
        plan: the last line of ``plan --check``; empty where none was made.
    """
    hours, joules = train["training_hours"], train["joules"]
    energy = "not measured" if joules is None else f"{joules:,.0f} J ({', '.join(train['joules_of'])})"
    share = train["wait_hours"] / hours if hours else 0.0
    auc = "none" if metrics["auc"] is None else f"{metrics['auc']:.4f}"
    return "\n".join(
        [
            f"training on {train['device']}: {train['targets_per_second']:,.0f} targets/s over {3600 * hours:.1f} s, "
            f"{train['epochs']} x {train['train_targets']:,} targets",
            f"  of it waiting for rows {share:.1%}, compiling {train['compile_seconds']:.1f} s; energy {energy}",
            f"evaluation: test AUC {auc}, {seconds:.1f} s with its start",
            *([f"plan --check: {plan}"] if plan else []),
        ]
    )


def run(given: argparse.Namespace) -> str:
    """Train, evaluate, plan; returns the summary."""
    changes = {"train.device": given.device, "train.precision": given.precision, "train.epochs": given.epochs}
    changes |= dict(given.set)
    space = StageFolder.make(given.folder, given.packed, changes)
    space.stage("train")
    seconds = space.stage("evaluate")
    reports = {name: space.report(name) for name in ("train", "metrics", "parity")}
    if given.json:
        write_json(given.json, {"changes": changes, **reports})
    plan = _planned(space, given.plan_seconds) if given.plan else ""
    return summary(reports["train"], reports["metrics"], seconds, plan)


def _planned(space: StageFolder, seconds: float) -> str:
    """What ``plan --check`` says of the run."""
    plan = space.run("dti", "plan", "--check", "--steps", "20", "--seconds", str(seconds)).stdout
    return "; ".join(line for line in plan.splitlines() if line.startswith(("predicted", "ERROR"))) or "said nothing"


def pair(text: str) -> tuple[str, Any]:
    """A parameter's name and value.

    Raises:
        argparse.ArgumentTypeError: there is no value.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: give NAME=VALUE")
    return name, yaml.safe_load(value)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path, help="packed data")
    parser.add_argument("folder", type=Path, help="where to work; made anew")
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--set", nargs="+", type=pair, default=[], metavar="NAME=VALUE", help="other values of params.yaml"
    )
    parser.add_argument("--plan", action=argparse.BooleanOptionalAction, default=True, help="end with plan --check")
    parser.add_argument("--json", type=Path, help="where to write the reports")
    parser.add_argument("--plan-seconds", type=float, default=5, help="how long the plan's steps are timed, at least")
    parser.add_argument("--summary", type=Path, help="where to write the summary")
    return parser.parse_args()


def main() -> None:
    """Print the summary last."""
    given = parse()
    text = run(given)
    if given.summary:
        with atomic_file(given.summary) as partial:
            partial.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    run_or_exit(main)
