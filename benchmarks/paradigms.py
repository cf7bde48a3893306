"""Training speed side by side: the sliding window, streams, and isolated content, on one machine.

    python benchmarks/paradigms.py --quick                  # four rows, half a minute on a CPU
    python benchmarks/paradigms.py --packed data/packed --json result.json --plot result.png
    python benchmarks/paradigms.py --size 1b --precision bf16        # one GPU
    python benchmarks/paradigms.py --size 135m --rows sliding window-50 frozen
    python benchmarks/paradigms.py --table a.json b.json    # results of earlier runs, as printed
    python benchmarks/paradigms.py --table a.json --markdown a.md     # as a table for docs/speed.md
    python benchmarks/paradigms.py --table a.json --plot a.png        # drawn anew

Rows: `sliding` (a prompt per target, window policy with RoPE: the paper's baseline), `window` (streams of k, ALiBi),
`isolated` (streams of whole users, label context), `unique` (each distinct item of a pass once, at each of --targets),
`overlapping` (the same, in steps of prompts that share items, for which histories are cut), `frozen` (LoRA on probes
alone; computing the catalogue's states is timed apart, in no step). At equal reading: `sliding-labels` (probes read the
context's label tokens alone, as isolated ones do), `isolated-tokens` and `unique-tokens` (they read all tokens, as the
sliding window's do). By name alone, on a GPU: `sliding-blocks` (the sliding window through SDPA's causal kernel, as on
a CPU; `sliding` has FlexAttention's blocks of 128 there). All rows of a tuning train the same random Llama with
the same optimiser, types and data; `ratio` compares with the sliding window of the same tuning (the faster one).
Without --packed the store is synthetic, of ml-1m's shape. Sizes above tiny train LoRA alone.

targets/s counts whole optimiser steps: prompts chosen, rows built, forward, backward, gradients clipped, weights
updated. Warm-up steps come first; then the rows take turns, one step each a round, every other round backwards, and
the median and extremes of the rounds are reported; `ratio` is the median of the rounds' own ratios. Rows that name no
step size of their own take the first of --targets. The rate of a sliding window, and of prompts short beside the step,
does not depend on the step's size, so their timed steps are as small as --seconds asks for, in whole passes.

The cost model is dti/training/flops.py: `FLOP bound` is its ratio for mean texts and full contexts, `reached` the
measured ratio's share of it. On CUDA, MFU is as outcome.py's MFU says; and GiB is the peak of allocated memory, of
which the weights of all models are part. On a CPU one process cannot tell its rows apart: --memory runs a step of each
in a process of its own (the interpreter, the store, and for `frozen` the making of the states included).

--json is written after every round: what is stopped (Ctrl-C) or killed keeps the rounds that it finished.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, from any folder

from benchmarks.drawing import draw  # noqa: E402
from benchmarks.measure import STREAM_PASS, Bench, Paradigm  # noqa: E402
from benchmarks.outcome import H100, Result, markdown, table  # noqa: E402
from benchmarks.profiling import add_profiles  # noqa: E402
from benchmarks.rounds import contexts, history, measure  # noqa: E402
from benchmarks.rows import chosen_of, usual_rows  # noqa: E402
from benchmarks.workloads import SIZES, content_per_interaction, synthetic_store  # noqa: E402
from dti.errors import DtiError  # noqa: E402
from dti.files import atomic_file, read_json, write_json  # noqa: E402
from dti.git import commit_of  # noqa: E402
from dti.model.device import device_of  # noqa: E402
from dti.params import load_params  # noqa: E402
from dti.prompts.store import Store  # noqa: E402
from dti.training.memory import peak_bytes  # noqa: E402
from dti.training.run import compile_seconds  # noqa: E402

PASS = {"tiny": 32_768, "135m": 8_192, "1b": 8_192, "8b": 4_096}
"""Content tokens of a forward pass, by size; streams have --stream-pass at most."""


def paradigms_of(given: argparse.Namespace) -> list[Paradigm]:
    """The rows of a run: --rows of all, or all but those that name a backend."""
    rows = usual_rows(given.size, given.targets, given.quick)
    return chosen_of(rows, given.rows) if given.rows else [row for row in rows if row.backend == "auto"]


def bench_of(given: argparse.Namespace, paradigms: Sequence[Paradigm]) -> Bench:
    """The store, the models and how they are trained.

    Raises:
        DtiError: there is nothing to train on, or the CPU is to compile.
    """
    torch.manual_seed(1)
    store = Store.open(given.packed) if given.packed else synthetic_store(given.n)
    if store.meta.counts.train == 0:
        raise DtiError(f"{given.packed}: no training targets")
    params = load_params(ROOT / "params.yaml")
    changes = {
        "precision": given.precision,
        "tokens_per_pass": given.tokens_per_pass or PASS[given.size],
        "activation_checkpointing": given.activation_checkpointing,
        "compile": given.compile,
    }
    train = params.train.model_copy(update=changes)
    lora = params.model.lora
    if given.lora_dropout is not None:
        lora = lora.model_copy(update={"dropout": given.lora_dropout})
    bench = Bench(store, SIZES[given.size], train, lora, device_of(given.device), given.stream_pass)
    if given.compile and bench.device.type == "cpu":
        raise DtiError("--compile gains nothing on a CPU (docs/log.md); leave it out")
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
        "stream_pass": bench.stream_pass,
        "checkpointed_above": bench.params.checkpointed_above,
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "attention": bench.backend,
        "torch": torch.__version__,
        "rounds": given.rounds,
        **({"peak": given.peak or H100} if cuda else {}),
        "commit": commit_of(ROOT),
        "arguments": shlex.join(given.arguments),
    }


def peak_warning(peak: float | None, name: str) -> str | None:
    """What to say where MFU would be a share of another GPU's peak; None where all is well.

    Args:
        peak: what --peak gives, if anything.
        name: the GPU's.
    """
    if peak is not None or "H100" in name or "H200" in name:  # both have the same cores
        return None
    return f"WARNING: MFU is a share of an H100's {H100 / 1e12:.0f} TFLOP/s, and this is {name}; give its --peak"


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
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these: unique, window-50, unique@4000 (a step)")
    parser.add_argument("--rounds", type=int, help="timed steps of each row (default 5; quick 3)")
    parser.add_argument("--warmup", type=int, help="untimed steps of each row before (default 2; on CUDA 4)")
    parser.add_argument("--seconds", type=float, help="length of a timed step that may be cut (default 10; quick 3)")
    parser.add_argument("--history", type=int, nargs="*", help="history lengths (default 50 ... 800; quick none)")
    parser.add_argument("--contexts", type=int, nargs="*", help="other n for three rows (default 5 10 50; quick none)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default fp32; on CUDA bf16")
    parser.add_argument("--tokens-per-pass", type=int, help="content tokens of a forward pass (default by size)")
    own = f"of a pass of streams, the sliding window's too, at most (default {STREAM_PASS:,})"
    parser.add_argument("--stream-pass", type=int, default=STREAM_PASS, help=own)
    less = "less memory, more time: in passes that compute more tokens than this, or in all"
    parser.add_argument(
        "--activation-checkpointing", type=int, nargs="?", const=True, default=False, metavar="TOKENS", help=less
    )
    parser.add_argument("--lora-dropout", type=float, help="default: what params.yaml has")
    parser.add_argument("--compile", action="store_true", help="torch.compile all but attention; CUDA alone")
    memory = "CPU: measure each row's memory in a process of its own (default: unless --quick)"
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, help=memory)
    parser.add_argument("--profile", action="store_true", help="where a step's time goes: one more step of each row")
    parser.add_argument("--peak", type=float, help=f"the GPU's FLOP/s for MFU (default {H100:.4g}: H100, bf16)")
    parser.add_argument("--json", type=Path, help="where to write the result, anew after every round")
    parser.add_argument("--markdown", type=Path, help="where to write the rows as a Markdown table")
    parser.add_argument("--plot", type=Path, help="where to draw it, a PNG file")
    parser.add_argument("--table", type=Path, nargs="+", help="show earlier results and measure nothing")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.arguments = sys.argv[1:] if arguments is None else list(arguments)
    cuda = given.device != "cpu" and torch.cuda.is_available()
    quick = {"targets": [1_000], "rounds": 3, "seconds": 3.0, "history": [], "contexts": []}
    usual = {"targets": [1_000, 4_000, 16_000], "rounds": 5, "seconds": 10.0}
    usual |= {"history": [50, 100, 200, 400, 800], "contexts": [5, 10, 50]}
    rest = {"warmup": 4 if cuda else 2, "precision": "bf16" if cuda else "fp32", "memory": not given.quick}
    for name, value in ((quick if given.quick else usual) | rest).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    if (
        min(given.rounds, given.warmup, given.n, *given.targets, *given.contexts) < 1
        or min(given.history, default=6) < 6
    ):
        parser.error("counts must be at least 1, histories at least 6 (their first five interactions are no targets)")
    if not isinstance(given.activation_checkpointing, bool) and given.activation_checkpointing < 1:
        parser.error("--activation-checkpointing takes a number of tokens, at least 1, or nothing for all passes")
    if given.lora_dropout is not None and not 0 <= given.lora_dropout < 1:
        parser.error("--lora-dropout must be at least 0 and below 1")
    if given.table and given.plot and len(given.table) > 1:
        parser.error("--plot draws one result; give --table one file")
    return given


def begun(bench: Bench, given: argparse.Namespace) -> Result:
    """The content of --json before the first round; ``complete`` says whether a run came to its end."""
    rounds = {"rounds_done": 0, "complete": False}
    measured: Result = {
        "rows": [],
        "catalogue": bench.catalogue,
        "compile_seconds": None,
        "history": [],
        "contexts": [],
    }
    return {"setup": setup_of(bench, given), **rounds, **measured}


def run(given: argparse.Namespace) -> Result:
    """Measure, print, and write what is asked for."""
    paradigms = paradigms_of(given)
    bench = bench_of(given, paradigms)
    content = begun(bench, given)

    def keep(**found: Any) -> None:
        content.update(found, compile_seconds=compile_seconds() or None)
        if given.json:
            write_json(given.json, content)

    if bench.device.type == "cuda" and (warning := peak_warning(given.peak, torch.cuda.get_device_name())):
        print(warning, file=sys.stderr, flush=True)
    rows = measure(bench, paradigms, given, lambda rows: keep(rows=rows, rounds_done=len(rows[0]["rates"])))
    if given.memory and bench.device.type == "cpu":
        add_memory(rows, paradigms, given.arguments)
    if given.profile:
        add_profiles(bench, paradigms, rows, lambda rows: keep(rows=rows))
    keep(rows=rows)
    keep(history=history(bench, paradigms, given.history))
    keep(contexts=contexts(bench, paradigms, given), complete=True)
    show([content], given)
    return content


def show(contents: Sequence[Result], given: argparse.Namespace) -> None:
    """Print results, write their rows as Markdown and draw the only one, where that is asked for."""
    print("\n\n".join(map(table, contents)))
    if given.markdown:
        with atomic_file(given.markdown) as partial:
            partial.write_text("\n\n".join(map(markdown, contents)) + "\n")
    if given.plot:
        draw(given.plot, contents[0], SIZES[contents[0]["setup"]["size"]])


def child(given: argparse.Namespace) -> None:
    """One turn of one row; prints the bytes of resident memory that this process needed."""
    key, targets = given.child
    paradigm = next(p for p in paradigms_of(given) if p.key == key)
    bench = bench_of(given, [paradigm])
    bench.round(paradigm, bench.steps(paradigm, int(targets)))
    print(peak_bytes(torch.device("cpu")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    given = parsed(arguments)
    try:
        if given.table:
            show([read_json(path) for path in given.table], given)
        elif given.child:
            child(given)
        else:
            run(given)
    except DtiError as error:
        sys.exit(f"ERROR: {error}")
    except KeyboardInterrupt:
        print("stopped; --json has the rounds that were finished", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
