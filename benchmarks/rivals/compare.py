"""Our configurations and the rivals on the same targets, as one table: `python -m benchmarks.rivals.compare GRID.yaml`.

It reads what `python -m dti sweep GRID.yaml --results DIR` and `python -m benchmarks.rivals --grid GRID.yaml
--results DIR/rivals` left (and what other grids, `--also`, left beside them), and writes DIR/rivals/table.md and
table.csv. Differences are paired: the same draws of
users for all, each draw the mean over a model's seeds. Where the scores are not there (they hold interactions and are
never committed), the numbers are those of the JSON files alone, and there is no difference.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dti.errors import DtiError, run_or_exit
from dti.evaluation.numbers import number
from dti.evaluation.scores import BOOTSTRAP_SEED, SAMPLES, Scores
from dti.files import atomic_file, read_json
from dti.report.comparing import Bootstrap, Estimate, estimate
from dti.report.models import HIGHER, NAMES
from dti.sweep.command import sweep_of

DRAW = Bootstrap(SAMPLES, BOOTSTRAP_SEED)


@dataclass(frozen=True)
class Model:
    """A configuration of ours or a rival, over its seeds.

    Attributes:
        reports: per seed, with at least the metrics, ``valid_auc``, ``training_hours`` and ``parameters``.
        scores: per seed; empty unless all are there.
        command: which of the two commands made it.
    """

    name: str
    reports: Sequence[Mapping[str, Any]]
    scores: Sequence[Scores]
    command: str

    def mean(self, key: str) -> float | None:
        """The mean over the seeds; None if one has no value."""
        values = [report[key] for report in self.reports]
        return None if None in values else float(np.mean(values))

    def estimate(self, metric: str) -> Estimate:
        """AUC or gAUC with its interval; without scores that of the only seed's report, or none."""
        if self.scores:
            draw = getattr(DRAW, metric)
            found = [draw(scores.label, scores.score, scores.user) for scores in self.scores]
            return estimate(self.mean(metric), np.mean([one.draws for one in found], axis=0))
        alone = self.reports[0] if len(self.reports) == 1 else {}
        low, high = alone.get(f"{metric}_low"), alone.get(f"{metric}_high")
        return Estimate(self.mean(metric), low, high, np.full(SAMPLES, np.nan))


def ours(grid: Path, folder: Path) -> list[Model]:
    """The configurations of a grid that have results."""
    found: dict[str, list[Path]] = {}
    for cell in sweep_of(grid).cells:
        if (path := folder / f"{cell.slug}.json").exists():
            found.setdefault(cell.configuration, []).append(path)
    return [_model(name, [(path, _flat(read_json(path))) for path in paths], "A") for name, paths in found.items()]


def _flat(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's report in the words of a rival's."""
    train = cell["train"]
    facts = {name: train[name] for name in ("training_hours", "targets_per_second", "device", "threads")}
    return {**cell["metrics"], **facts, "parameters": train["trained_parameters"], "code": cell["code"]}


def rivals(folder: Path) -> list[Model]:
    """The rivals that left results in a folder, the simple ones first."""
    found: dict[str, list[tuple[Path, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        report = read_json(path)
        found.setdefault(report["model"], []).append((path, report))
    return [_model(name, files, "B") for name, files in sorted(found.items(), key=lambda item: not item[0].islower())]


def _model(name: str, files: Sequence[tuple[Path, Any]], command: str) -> Model:
    paths = [path.with_suffix(".parquet") for path, _ in files]
    scores = [Scores.read(path) for path in paths] if all(path.exists() for path in paths) else []
    return Model(name, [report for _, report in files], scores, command)


def check(models: Sequence[Model]) -> None:
    """Refuse models of other test targets.

    Raises:
        DtiError: names two files.
    """
    every = [scores for model in models for scores in model.scores]
    for scores in every[1:]:
        if not scores.has_targets_of(every[0]):
            raise DtiError(f"{scores.path} and {every[0].path} score other test targets; they cannot be compared")


def row(model: Model, chosen: Model) -> dict[str, str]:
    """A line of the table; differences are the model's minus those of ``chosen``."""
    auc, gauc = model.estimate("auc"), model.estimate("gauc")
    gaps = {"AUC": auc.minus(chosen.estimate("auc")), "gAUC": gauc.minus(chosen.estimate("gauc"))}
    threads, device = (model.reports[0][name] for name in ("threads", "device"))
    return {
        "model": model.name,
        "seeds": str(len(model.reports)),
        "test AUC [95 %, by user]": auc.cell().text,
        "minus ours [95 %]": "" if model is chosen else gaps["AUC"].cell("+.4f").text,
        **{title: number(model.mean(name)) for name, title in NAMES.items() if name != "auc"},
        "validation AUC": number(model.mean("valid_auc")),
        "training hours": number(model.mean("training_hours"), ".2g"),
        "targets/s": number(model.mean("targets_per_second"), ",.0f"),
        "trained weights": f"{model.reports[0]['parameters']:,}",
        "in words": "ours" if model is chosen else words(model, chosen, gaps),
        "by": f"{model.command}, {_commit(model.reports[0]['code'])}, {device}, {threads} thread",
    }


def _commit(code: Mapping[str, Any] | None) -> str:
    """The short commit, with a star where the code differs from it; "-" where it was made outside git."""
    if code is None or code["commit"] is None:
        return "-"
    return f"{code['commit'][:7]}{'*' if code['dirty'] else ''}"


def words(model: Model, chosen: Model, gaps: Mapping[str, Estimate]) -> str:
    """Who wins by AUC and gAUC, where the interval of the difference leaves out 0, and by what the number is better."""
    said = [] if any(gap.low is not None for gap in gaps.values()) else ["no interval"]
    for title, gap in gaps.items():
        if gap.low is not None and gap.high is not None and (gap.low > 0 or gap.high < 0):
            said.append(f"{'wins' if gap.low > 0 else 'loses'} by {title}")
    better = [title for name, title in NAMES.items() if _better(name, model.mean(name), chosen.mean(name))]
    return "; ".join([*(said or ["no winner"]), *([f"better number: {', '.join(better)}"] if better else [])])


def _better(name: str, mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None:
        return False
    return mine > theirs if name in HIGHER else mine < theirs


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(line.values()) for line in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, metavar="GRID.yaml")
    parser.add_argument("--results", type=Path, help="the folder of the sweep's results; by default beside the grid")
    parser.add_argument(
        "--also", type=Path, nargs="+", default=[], metavar="GRID.yaml", help="more grids of ours, results beside them"
    )
    return parser.parse_args()


def main() -> None:
    """Print and write the table.

    Raises:
        DtiError: a wrong grid, no results, or results of other targets.
    """
    given = parse()
    folder = given.results or given.grid.with_suffix("")
    mine, theirs = ours(given.grid, folder), rivals(folder / "rivals")
    mine += [model for grid in given.also for model in ours(grid, grid.with_suffix(""))]
    if not mine or not theirs:
        raise DtiError(f"{folder}: no results of the {'rivals' if mine else 'sweep'}; run it first (see --help)")
    check([*mine, *theirs])
    chosen = max(mine, key=lambda model: model.mean("valid_auc") or 0.0)
    rows = [row(model, chosen) for model in (*mine, *theirs)]
    text = f"{markdown(rows)}\n\n{caption(mine[0].reports[0], chosen)}\n"
    print(text)
    with atomic_file(folder / "rivals/table.md") as partial:
        partial.write_text(text, encoding="utf-8")
    with atomic_file(folder / "rivals/table.csv") as partial, partial.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def caption(report: Mapping[str, Any], chosen: Model) -> str:
    """What the columns mean."""
    return (
        f"{report['title']}, {report['test_targets']:,} test targets. Means over seeds. Ours: {chosen.name}, the best "
        f"of our configurations by validation AUC. Intervals: {SAMPLES:,} draws of test users, the same for all. "
        "By: command (A sweep, B rivals), commit (* with changes, - unknown), machine."
    )


if __name__ == "__main__":
    run_or_exit(main)
