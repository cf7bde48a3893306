"""What a plan of data/packed foretells, beside what runs of the same ways took: hours of an epoch, and memory.

    python benchmarks/plans.py benchmarks/study/plans

RESULTS is the folder of a sweep over the same data, made on the same machine; cells of several epochs count by their
mean. A machine's own speed varies, and most in its first seconds; other work on it varies more.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.params import Params, load_params
from dti.prompts.store import Store
from dti.training.plan import Cost, Planner, facts

Result = dict[str, Any]
GIB = 2**30
YOUNGER = {"probe_tokens": 1}
"""What parameters of ``attention`` were before there was a choice: results of then do not name them."""


def results_of(folder: Path) -> list[Result]:
    """The results of a sweep's cells.

    Raises:
        DtiError: there are none.
    """
    found = [read_json(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise DtiError(f"{folder}: no results; run the sweep first")
    return found


def same(cost: Cost, params: Params, result: Result) -> bool:
    """Whether the cell trained in this way: cut and read alike, with the plan's model and steps."""
    ran = result["parameters"]
    ways = (cost.way.k, cost.way.attention.model_dump()) == (ran["pack"]["k"], YOUNGER | ran["attention"])
    steps = all(ran["train"][name] == getattr(params.train, name) for name in ("targets_per_step", "tokens_per_pass"))
    return ways and steps and ran["model"] == params.model.model_dump()


def lines(costs: list[Cost], params: Params, results: list[Result]) -> Iterator[str]:
    """The table; a way that no cell has is left out."""
    yield "| way | k | predicted h | took h | off by | predicted GiB | took GiB | off by |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for cost in costs:
        for result in [r for r in results if same(cost, params, r)][:1]:
            train = result["train"]
            hours, peak = train["training_hours"] / train["epochs"], train["peak_bytes"] / GIB
            memory = cost.memory / GIB
            yield (
                f"| {cost.way.name} | {cost.way.k} | {cost.hours:.4f} | {hours:.4f} | {cost.hours / hours - 1:+.1%} "
                f"| {memory:.2f} | {peak:.2f} | {memory / peak - 1:+.1%} |"
            )


def main(arguments: list[str] | None = None) -> None:
    """Measure the plan, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the sweep's results")
    parser.add_argument("--json", type=Path, help="where to keep the plan")
    parser.add_argument("--seconds", type=float, default=20, help="how long a way is timed, as in `dti plan`")
    given = parser.parse_args(arguments)
    results, params, store = results_of(given.results), load_params(), Store.open(Path("data/packed"))
    targets = {result["train"]["train_targets"] for result in results}
    planner = Planner(store, params, 20, given.seconds)
    if targets != {planner.targets}:
        raise DtiError(f"{given.results}: cells of {targets} targets, data/packed has {planner.targets}")
    costs = planner.costs()
    print("\n".join(lines(costs, params, results)))
    if given.json:
        write_json(given.json, facts(costs, params))


if __name__ == "__main__":
    try:
        main()
    except DtiError as error:
        sys.exit(f"error: {error}")
