"""Training speed side by side: the sliding window, streams, and isolated content, on one machine.

    python benchmarks/paradigms.py --quick                  # four rows, half a minute on a CPU
    python benchmarks/paradigms.py --packed data/packed --json result.json --plot result.png
    python benchmarks/paradigms.py --size 1b --precision bf16        # one GPU
    python benchmarks/paradigms.py --size 135m --rows sliding window-50 frozen
    python benchmarks/paradigms.py --table a.json b.json    # results of earlier runs, as printed

Rows: `sliding` (a prompt per target, window policy with RoPE: the paper's baseline), `window` (streams of k, ALiBi),
`isolated` (streams of whole users, label context), `unique` (each distinct item of a pass once, at each of --targets),
`frozen` (LoRA on probes alone; computing the catalogue's states is timed apart, in no step). All rows of a tuning train
the same randomly initialised Llama with the same optimiser, types and data; `ratio` compares with the sliding window of
the same tuning. Without --packed the store is synthetic, of ml-1m's shape. Sizes above tiny train LoRA alone.

targets/s counts whole optimiser steps: rows built, forward, backward, gradients clipped, weights updated. Warm-up steps
come first; then the rows take turns, one step each a round, and the median and extremes of the rounds are reported.
Rows that name no step size of their own take the first of --targets. The rate of a sliding window, and of prompts short
beside the step, does not depend on the step's size, so their timed steps are as small as --seconds asks for.

The cost model is dti/training/flops.py: `FLOP bound` is its ratio for mean texts and full contexts, `reached` the
measured ratio's share of it. On CUDA, MFU = (6 N (full) or 4 N (LoRA) x tokens + 12 W x pairs read, in each layer that
computes them) per second, all counted from the rows, / --peak; and GiB is the peak of allocated memory, of which the
weights of all models are part.
On a CPU one process cannot tell its rows apart: --memory runs a step of each in a process of its own (the interpreter,
the store, and for `frozen` the making of the states included).
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, from any folder

from benchmarks.measure import Bench, Paradigm, resident_peak  # noqa: E402
from benchmarks.outcome import KS, Result, draw, table  # noqa: E402
from benchmarks.rounds import contexts, history, measure  # noqa: E402
from benchmarks.workloads import SIZES, content_per_interaction, synthetic_store  # noqa: E402
from dti.errors import DtiError  # noqa: E402
from dti.files import read_json, write_json  # noqa: E402
from dti.git import commit_of  # noqa: E402
from dti.model.device import device_of  # noqa: E402
from dti.params import load_params  # noqa: E402
from dti.prompts.store import Store  # noqa: E402
from dti.training.flops import Tuning  # noqa: E402

PASS = {"tiny": 32_768, "135m": 8_192, "1b": 8_192, "8b": 4_096}
"""Content tokens of a forward pass, by size; all rows of a run have the same."""


def rows_of(tuning: Tuning, targets: Sequence[int]) -> Iterator[Paradigm]:
    """Every row of one tuning."""
    first = targets[0]
    yield Paradigm("sliding", 1, first, tuning, "window", "rope", "all")
    for k in KS[1:]:
        yield Paradigm("window", k, first, tuning, "window", "alibi", "all")
    yield Paradigm("isolated", "all", first, tuning, "isolated", "local", "label")
    for step in targets:
        yield Paradigm("unique", "all", step, tuning, "isolated", "local", "label", "unique")
    for step in targets if tuning == "lora" else ():
        yield Paradigm("frozen", "all", step, tuning, "isolated", "local", "label", "unique", "frozen")


def chosen_of(paradigms: Sequence[Paradigm], wanted: Sequence[str]) -> list[Paradigm]:
    """The rows whose name, or name and k, is wanted.

    Raises:
        DtiError: no row has such a name, or the baseline is not among them.
    """
    if "sliding" not in wanted:
        raise DtiError("--rows: ratios need the row sliding")
    names = [{p.name, f"{p.name}-{p.k}"} for p in paradigms]
    if unknown := set(wanted).difference(*names):
        known = ", ".join(dict.fromkeys(name for pair in names for name in sorted(pair)))
        raise DtiError(f"--rows: no row {min(unknown)!r}; there are {known}")
    return [p for p, pair in zip(paradigms, names, strict=True) if pair & set(wanted)]


def paradigms_of(given: argparse.Namespace) -> list[Paradigm]:
    """The rows of a run: --rows of all, or all."""
    rows = usual_rows(given.size, given.targets, given.quick)
    return chosen_of(rows, given.rows) if given.rows else rows


def usual_rows(size: str, targets: Sequence[int], quick: bool) -> list[Paradigm]:
    """All with LoRA, or, for tiny, full training and the two that show what frozen content gains."""
    if size != "tiny":
        rows = list(rows_of("lora", targets))
    else:
        rows = [*rows_of("full", targets), *(p for p in rows_of("lora", targets) if p.name in ("sliding", "frozen"))]
    if not quick:
        return rows
    return [p for p in rows if p.tuning == rows[0].tuning and (p.k in (1, 50) or p.name in ("isolated", "unique"))]


def bench_of(given: argparse.Namespace, paradigms: Sequence[Paradigm]) -> Bench:
    """The store, the models and how they are trained."""
    torch.manual_seed(1)
    store = Store.open(given.packed) if given.packed else synthetic_store(given.n)
    if store.meta.counts.train == 0:
        raise DtiError(f"{given.packed}: no training targets")
    params = load_params(ROOT / "params.yaml")
    changes = {
        "precision": given.precision,
        "tokens_per_pass": given.tokens_per_pass or PASS[given.size],
        "activation_checkpointing": given.activation_checkpointing,
    }
    train = params.train.model_copy(update=changes)
    bench = Bench(store, SIZES[given.size], train, params.model.lora, device_of(given.device))
    bench.prepare(paradigms)
    return bench


def setup_of(bench: Bench, given: argparse.Namespace) -> dict[str, Any]:
    """What the numbers were measured with."""
    cuda = bench.device.type == "cuda"
    return {
        "size": given.size,
        "weights": bench.shape.weights,
        "data": bench.store.meta.title,
        "n": bench.store.meta.n,
        "c": round(content_per_interaction(bench.store), 3),
        "precision": given.precision,
        "tokens_per_pass": bench.params.tokens_per_pass,
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "attention": next(iter(bench.models.values())).backend,
        "torch": torch.__version__,
        "rounds": given.rounds,
        "commit": commit_of(ROOT),
    }


def add_memory(results: list[Result], paradigms: Sequence[Paradigm], arguments: Sequence[str]) -> None:
    """Each row's resident peak, from a step in a process of its own with the same arguments."""
    for result, paradigm in zip(results, paradigms, strict=True):
        child = [sys.executable, __file__, *arguments, "--child", paradigm.key, str(result["timed_targets"])]
        done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
        result["peak_bytes"] = int(done.stdout.split()[-1])


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with defaults that depend on other arguments filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four rows, small steps, no curves")
    parser.add_argument("--packed", type=Path, help="a packed store, which has its own n; default: a synthetic one")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--n", type=int, default=20, help="context of the synthetic store")
    parser.add_argument("--targets", type=int, nargs="+", help="targets per step (default 1000 4000 16000; quick 1000)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these: a name, or a name and k, window-50")
    parser.add_argument("--rounds", type=int, help="timed steps of each row (default 5; quick 3)")
    parser.add_argument("--warmup", type=int, help="untimed steps of each row before (default 2; on CUDA 4)")
    parser.add_argument("--seconds", type=float, help="length of a timed step that may be cut (default 10; quick 3)")
    parser.add_argument("--history", type=int, nargs="*", help="history lengths (default 50 ... 800; quick none)")
    parser.add_argument("--contexts", type=int, nargs="*", help="other n for three rows (default 5 10 50; quick none)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default fp32; on CUDA bf16")
    parser.add_argument("--tokens-per-pass", type=int, help="content tokens of a forward pass (default by size)")
    parser.add_argument("--activation-checkpointing", action="store_true", help="less memory, more time")
    parser.add_argument("--memory", action="store_true", help="CPU: measure each row's memory in a process of its own")
    parser.add_argument("--peak", type=float, default=989e12, help="the GPU's FLOP/s for MFU (default: H100, bf16)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--plot", type=Path, help="where to draw it, a PNG file")
    parser.add_argument("--table", type=Path, nargs="+", help="print earlier results and measure nothing")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.arguments = sys.argv[1:] if arguments is None else list(arguments)
    cuda = given.device != "cpu" and torch.cuda.is_available()
    quick = {"targets": [1_000], "rounds": 3, "seconds": 3.0, "history": [], "contexts": []}
    usual = {"targets": [1_000, 4_000, 16_000], "rounds": 5, "seconds": 10.0}
    usual |= {"history": [50, 100, 200, 400, 800], "contexts": [5, 10, 50]}
    rest = {"warmup": 4 if cuda else 2, "precision": "bf16" if cuda else "fp32"}
    for name, value in ((quick if given.quick else usual) | rest).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    if (
        min(given.rounds, given.warmup, given.n, *given.targets, *given.contexts) < 1
        or min(given.history, default=6) < 6
    ):
        parser.error("counts must be at least 1, histories at least 6 (their first five interactions are no targets)")
    return given


def run(given: argparse.Namespace) -> Result:
    """Measure, print, and write what is asked for."""
    paradigms = paradigms_of(given)
    bench = bench_of(given, paradigms)
    results = measure(bench, paradigms, given)
    if given.memory and bench.device.type == "cpu":
        add_memory(results, paradigms, given.arguments)
    content = {
        "setup": setup_of(bench, given),
        "rows": results,
        "catalogue": bench.catalogue,
        "history": history(bench, paradigms, given.history, min(2, given.rounds)) if given.history else [],
        "contexts": contexts(bench, paradigms, given),
    }
    if given.json:
        write_json(given.json, content)
    if given.plot:
        draw(given.plot, content, bench.shape)
    print(table(content))
    return content


def child(given: argparse.Namespace) -> None:
    """One step of one row; prints the bytes of resident memory that this process needed."""
    key, targets = given.child
    paradigm = next(p for p in paradigms_of(given) if p.key == key)
    bench = bench_of(given, [paradigm])
    bench.step(paradigm, next(bench.steps(paradigm, int(targets))))
    print(resident_peak())


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    given = parsed(arguments)
    try:
        if given.table:
            print("\n\n".join(table(read_json(path)) for path in given.table))
        elif given.child:
            child(given)
        else:
            run(given)
    except DtiError as error:
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
