"""Data stages at scale: rows/s and peak memory on synthetic interactions, each stage in a process of its own.

    python benchmarks/scale.py --interactions 20000000

Exits with 1 when a stage fails or needs more memory than --limit (GiB).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("prepare", "pack")  # in order; each reads what the one before wrote
PER_USER = 100  # mean interactions per user
ITEMS = 50_000
CHUNK = 2_000_000  # rows generated at a time
DAYS = 300


@dataclass(frozen=True)
class Cost:
    """What one stage took: wall-clock seconds and peak resident memory in GiB."""

    stage: str
    seconds: float
    gib: float

    def line(self, interactions: int) -> str:
        """One line of the report."""
        rate = interactions / self.seconds
        return f"{self.stage:8} {self.seconds:7.1f} s  {rate:12,.0f} rows/s  peak {self.gib:.2f} GiB"


def _write_clicks(path: Path, interactions: int, rng: np.random.Generator) -> None:
    """In the order of time, as a log is; chunk after chunk, so that this process stays small."""
    users = max(1, interactions // PER_USER)
    with path.open("wb") as handle:
        for start in range(0, interactions, CHUNK):
            count = min(CHUNK, interactions - start)
            seconds = np.sort(rng.integers(0, DAYS * 86_400 * count // interactions + 1, count))
            columns = {
                "user_id": pl.format("user-{}", pl.lit(pl.Series(rng.integers(0, users, count)))),
                "item_id": pl.format("item-{}", pl.lit(pl.Series(rng.zipf(1.3, count) % ITEMS))),
                "label": pl.lit(pl.Series(rng.integers(0, 2, count))),
                "timestamp": pl.lit(pl.Series(1_672_531_200 + DAYS * 86_400 * start // interactions + seconds)),
            }
            pl.select(**columns).write_csv(handle, include_header=start == 0)


def make_workspace(folder: Path, interactions: int) -> None:
    """A folder with params.yaml and a raw data set of the demo's layout, in which the stages can run."""
    raw = folder / "data/raw/demo"
    raw.mkdir(parents=True)
    _write_clicks(raw / "clicks.csv", interactions, np.random.default_rng(1))
    number = pl.int_range(ITEMS, eager=True)
    words = [pl.format("{} {}", pl.lit(word), number % 97).alias(word) for word in ("title", "genres", "brand")]
    pl.select(pl.format("item-{}", number).alias("item_id"), *words).write_csv(raw / "items.csv")
    facts = '{"name": "demo", "title": "Synthetic", "sha256": "", "official": true, "url": null}'
    (raw / "source.json").write_text(facts)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] |= {"name": "demo", "sha256": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def run_stage(stage: str, folder: Path) -> Cost:
    """Run one stage in ``folder`` as a child process and measure it."""
    begun = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-m", f"dti.stages.{stage}"], cwd=folder, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"ERROR: {stage} failed")
    return Cost(stage, time.perf_counter() - begun, usage.ru_maxrss / 2**20)


def main() -> None:
    """Parse the command line, run the stages, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=20_000_000)
    parser.add_argument("--limit", type=float, default=6.0, help="GiB that a stage may use")
    parser.add_argument("--folder", type=Path, help="where the temporary data goes (about 60 bytes per interaction)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="dti-scale-") as name:
        make_workspace(Path(name), given.interactions)
        costs = [run_stage(stage, Path(name)) for stage in STAGES]
    print(f"{given.interactions:,} interactions, {os.cpu_count()} cores")
    print("\n".join(cost.line(given.interactions) for cost in costs))
    if any(cost.gib > given.limit for cost in costs):
        sys.exit(f"ERROR: more than {given.limit} GiB")


if __name__ == "__main__":
    main()
