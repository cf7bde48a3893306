"""What training cost: the cost model's tokens per target beside those that were counted, and hours."""

from dti.evaluation.numbers import number
from dti.progress import clock
from dti.report.document import Block, Cell, Section, Table, Words, cells
from dti.report.run import Run, machine

PACK, TRAIN = "`reports/pack.json`", "`reports/train.json`"


def section(run: Run) -> Section:
    """Tokens per target by the cost model, packed and computed; then hours."""
    blocks: list[Block] = [_tokens(run), Words(_reading(run), listed=True), _hours(run)]
    return Section("cost", "Cost: predicted and measured", blocks)


def computed(run: Run) -> float:
    """Tokens that training computed per target, probes included."""
    return float(run.train["train_tokens"] / run.train["train_targets"])


def _tokens(run: Run) -> Table:
    pack, model = run.pack, run.pack["cost_model"]
    k = pack["k"]
    this = "(n + 1)c" if k == 1 else "c + 1" if k == "all" else "(n + k)c / k + 1"
    sliding = pack["sliding_tokens_per_target"]
    rows = [
        _row(f"cost model: (n + 1)c and {this}", model["sliding"], model["this_k"], model["ratio"], PACK),
        _row("counted when packed", sliding, pack["tokens_per_target"], pack["counted_ratio"], PACK),
        _row("computed in training, an epoch", None, computed(run), sliding / computed(run), TRAIN),
        _row("the stream's upper limit: k(n + 1) / (n + k)", None, None, model["ratio_limit"], PACK),
    ]
    notes = [
        f"n = {pack['n']}, k = {k}, c = {model['content_per_interaction']:.3f} content tokens per interaction, label "
        "included. The cost model knows no short histories, no profiles and no quadratic part of attention.",
        "The third row's ratio is to the sliding window's counted tokens.",
    ]
    if more := _more_probe_tokens(run):
        notes.append(f"Each target has {more + 1} probe tokens here; the rows from {PACK} count one.")
    head = ["tokens per training target", "sliding window", f"this run, k = {k}", "ratio", "from"]
    return Table("Cost model against counts", head, rows, f"{PACK}, {TRAIN}", notes, texts=[4])


def _more_probe_tokens(run: Run) -> int:
    """A target's probe tokens, but for the one that is counted when packed."""
    return int(run.train.get("probe_tokens", 1)) - 1


def _row(name: str, sliding: float | None, this: float | None, ratio: float, source: str) -> list[Cell]:
    return cells(name, number(sliding, ".2f"), number(this, ".2f"), f"{ratio:.2f}x", source)


def _reading(run: Run) -> list[str]:
    predicted, counted = run.pack["cost_model"]["this_k"], run.pack["tokens_per_target"]
    lines = [f"Counted tokens are {_beside(counted, predicted)} the cost model's; short histories make them fewer."]
    if run.train["layout"] == "unique":
        frozen = " and frozen content is not computed at all" if run.train["content"] == "frozen" else ""
        lines.append(
            f"Layout `unique`: training encodes each distinct item of a pass once{frozen}, so that it computes "
            f"{_beside(computed(run), counted + _more_probe_tokens(run))} the stream's tokens."
        )
    if run.pack["k"] == 1:
        return [*lines, "This run is the sliding window itself: nothing is saved."]
    hours = run.train["compute_hours"] * run.pack["sliding_tokens_per_target"] / computed(run)
    return [
        *lines,
        f"If a token took the same time, the sliding window would compute for {hours:.3g} hours in place of "
        f"{run.train['compute_hours']:.3g}. That is a prediction: no sliding window was trained in this run. To "
        "measure it, train one (`-S pack.k=1`) on the same machine and compare with `python -m dti report --against`.",
    ]


def _beside(value: float, other: float) -> str:
    share = 100 * (value / other - 1)
    return "equal to" if abs(share) < 0.05 else f"{abs(share):.1f} % {'above' if share > 0 else 'below'}"


def _hours(run: Run) -> Table:
    train = run.train
    names = {
        "training": "training_hours",
        "of it computing": "compute_hours",
        "of it waiting for batches": "wait_hours",
        "validation, beside it": "validation_hours",
        "checkpoints, beside it": "checkpoint_hours",
    }
    hours = train["training_hours"]
    rows = [
        cells(
            name, clock(3600 * train[key]), f"{train[key]:.4f}", f"{100 * train[key] / hours:.1f} %" if hours else "-"
        )
        for name, key in names.items()
    ]
    seconds = 3600 * hours
    tokens = train["epochs"] * train["train_tokens"]
    notes = [
        f"{train['train_targets']:,} targets in each of {train['epochs']} epochs, {train['steps']:,} steps: "
        f"{train['targets_per_second']:,.0f} targets/s" + (f", {tokens / seconds:,.0f} tokens/s." if seconds else "."),
        f"Device {machine(run)}, whatever else ran there; "
        f"{train['trained_parameters']:,} of {train['parameters']:,} weights trained"
        + (f"; interrupted and resumed: {train['resumed']} x." if train["resumed"] else "."),
    ]
    if kept := train["catalogue_bytes"]:
        notes.append(f"Keys and values of the catalogue, computed once and kept on disk: {kept / 2**20:,.0f} MiB.")
    return Table("Time", ["", "h:mm:ss", "hours", "of the training"], rows, TRAIN, notes)
