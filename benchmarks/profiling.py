"""Where a step's time goes: one profiled step of each row, its operations grouped by what they do.

The profiler slows a step down, small operations most: shares tell where to look, not how long it takes.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import Bench, Paradigm
from benchmarks.outcome import Result
from dti.prompts.batching import rows
from dti.prompts.packing import Prompts
from dti.training.probe import timed_step

OPTIMISER, BUILT, REST = "optimiser", "rows built", "rest"
WORDS = {
    OPTIMISER: ("optimizer", "multi_tensor", "_foreach", "fused_adam", "clip_grad"),
    "softmax and attention": ("softmax", "attention", "flash", "fmha", "flex"),
    "matrix products": ("mm", "linear", "matmul", "gemm", "cutlass", "nvjet", "xmma", "einsum", "cublas", "splitk"),
    "gather and copy": (
        *("index", "gather", "scatter", "copy", "cat", "clone", "embedding", "select", "slice", "memcpy", "memset"),
        *("zero", "fill", "pad", "narrow", "contiguous", "repeat", "split", "stack", "_to", "empty", "resize"),
    ),
    "element-wise": (
        *("elementwise", "add", "sub", "mul", "div", "neg", "pow", "sqrt", "mean", "sum", "exp", "silu", "sigmoid"),
        *("dropout", "bernoulli", "where", "mask", "clamp", "cos", "sin", "reduce", "norm", "triton", "square"),
    ),
}
"""The first group that has a word of an operation's name, in lower case, gets its time: of aten's on a CPU, of the
kernels' on a GPU."""
GROUPS = ("matrix products", "softmax and attention", "gather and copy", "element-wise", OPTIMISER, BUILT, REST)
Timed = tuple[str, Sequence[str], float]
"""An operation's name, the names of those that called it, and its own microseconds."""


def add_profiles(
    bench: Bench, paradigms: Sequence[Paradigm], results: list[Result], keep: Callable[[list[Result]], None]
) -> None:
    """Add to each row the shares of one more step, as large as its timed ones; ``keep`` gets the rows after each."""
    for paradigm, result in zip(paradigms, results, strict=True):
        prompts, _ = next(bench.steps(paradigm, result["timed_targets"]))
        result["profile"] = profiled(bench, paradigm, prompts)
        keep(results)


def profiled(bench: Bench, paradigm: Paradigm, prompts: Prompts) -> dict[str, float]:
    """Shares of a step's time by group; rows, which no operation of torch builds, are timed by themselves."""
    model, params = bench.model(paradigm), bench.train_of(paradigm)
    began = time.perf_counter()
    list(rows(bench.store, prompts, params.tokens_per_pass, model.layout))
    built = 1e6 * (time.perf_counter() - began)
    cuda = bench.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as taken:
        timed_step(model, bench.optimisers[paradigm.tuning], bench.store, prompts, params)
    return shares(_own_times(taken, cuda), built)


def shares(events: Iterable[Timed], built: float) -> dict[str, float]:
    """Each group's share of all time; they sum to 1.

    Args:
        built: microseconds that building the rows took.
    """
    total = dict.fromkeys(GROUPS, 0.0) | {BUILT: built}
    for name, callers, microseconds in events:
        total[group_of(name, callers)] += microseconds
    return {group: value / sum(total.values()) for group, value in total.items()}


def group_of(name: str, callers: Sequence[str] = ()) -> str:
    """The group of an operation; all that the optimiser's step calls is the optimiser's."""
    lower = name.lower()
    if any(_has(caller.lower(), OPTIMISER) for caller in callers):
        return OPTIMISER
    if "autograd::" in lower:  # the engine's own time around an operation, whose name it carries
        return REST
    return next((group for group in WORDS if _has(lower, group)), REST)


def _has(name: str, group: str) -> bool:
    return any(word in name for word in WORDS[group])


def _own_times(taken: Any, cuda: bool) -> Iterable[Timed]:
    """Operations on a CPU with their callers, or a GPU's kernels; spans that only name others are left out."""
    for event in taken.events():
        if cuda and event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            yield event.name, (), event.self_device_time_total
        elif not cuda and event.device_type == DeviceType.CPU:
            yield event.name, _callers(event), event.self_cpu_time_total


def _callers(event: Any) -> list[str]:
    names = []
    while (event := event.cpu_parent) is not None:
        names.append(event.name)
    return names
