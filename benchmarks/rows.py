"""Which rows a run of the benchmark has, by the model's size and the step sizes asked for."""

from collections.abc import Iterator, Sequence

from benchmarks.measure import Paradigm
from dti.errors import DtiError
from dti.prompts.store import Targets
from dti.training.flops import Tuning

KS: tuple[Targets, ...] = (1, 5, 10, 50, 200, "all")


def rows_of(tuning: Tuning, targets: Sequence[int]) -> Iterator[Paradigm]:
    """Every row of one tuning; those that name a backend are for GPUs, which have another one."""
    first = targets[0]
    yield Paradigm("sliding", 1, first, tuning, "window", "rope", "all")
    yield Paradigm("sliding-blocks", 1, first, tuning, "window", "rope", "all", backend="blocks")
    yield Paradigm("sliding-labels", 1, first, tuning, "window", "alibi", "label")
    for k in KS[1:]:
        yield Paradigm("window", k, first, tuning, "window", "alibi", "all")
    yield Paradigm("isolated", "all", first, tuning, "isolated", "local", "label")
    yield Paradigm("isolated-tokens", "all", first, tuning, "isolated", "local", "all")
    for step in targets:
        yield Paradigm("unique", "all", step, tuning, "isolated", "local", "label", "unique")
    yield Paradigm("unique-tokens", "all", first, tuning, "isolated", "local", "all", "unique")
    for step in targets:
        yield Paradigm(
            "overlapping", "all", step, tuning, "isolated", "local", "label", "unique", composition="overlapping"
        )
    for step in targets if tuning == "lora" else ():
        yield Paradigm("frozen", "all", step, tuning, "isolated", "local", "label", "unique", "frozen")


def _named(paradigms: Sequence[Paradigm], wanted: Sequence[str]) -> list[Paradigm]:
    """The rows called so: ``unique`` is all of a name, ``window-50`` those of a k, ``unique@4000`` those of a step.

    Raises:
        DtiError: no row has such a name.
    """
    names = [{p.name, f"{p.name}-{p.k}", f"{p.name}@{p.targets}"} for p in paradigms]
    if unknown := set(wanted).difference(*names):
        known = ", ".join(dict.fromkeys(name for several in names for name in sorted(several)))
        raise DtiError(f"--rows: no row {min(unknown)!r}; there are {known}")
    return [p for p, several in zip(paradigms, names, strict=True) if several & set(wanted)]


def chosen_of(paradigms: Sequence[Paradigm], wanted: Sequence[str]) -> list[Paradigm]:
    """The rows whose name, name and k, or name and step is wanted; a tuning's baseline needs another row of it.

    Raises:
        DtiError: no row has such a name, or the baseline is not among them.
    """
    if "sliding" not in wanted:
        raise DtiError("--rows: ratios need the row sliding")
    chosen = _named(paradigms, wanted)
    compared = {p.tuning for p in chosen if p.name != "sliding"} or {chosen[0].tuning}
    return [p for p in chosen if p.tuning in compared]


def usual_rows(size: str, targets: Sequence[int], quick: bool) -> list[Paradigm]:
    """All with LoRA, or, for tiny, full training and the two that show what frozen content gains."""
    if size != "tiny":
        rows = list(rows_of("lora", targets))
    else:
        rows = [*rows_of("full", targets), *(p for p in rows_of("lora", targets) if p.name in ("sliding", "frozen"))]
    if not quick:
        return rows
    few = ("sliding-1", "window-50", "isolated-all", "unique-all")
    return [p for p in rows if p.tuning == rows[0].tuning and f"{p.name}-{p.k}" in few]
