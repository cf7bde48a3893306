"""Puts the sections together: from a run's folder to a document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dti.errors import DtiError
from dti.evaluation.numbers import number
from dti.files import sha256_of
from dti.params import flatten
from dti.progress import clock
from dti.prompts.store import Store
from dti.report import against, card, cost, figures, models, parity, rivals, slices
from dti.report.comparing import Bootstrap
from dti.report.document import Block, Document, Fact, Section, Table, Words, cells
from dti.report.models import Quality
from dti.report.run import Run, machine, why_unofficial
from dti.report.targets import MODEL, Histories, Targets, read_targets

PACKED = "data/packed"
SOURCES = ("demo", "amazon", "table")
"""Sections of params.yaml that matter for their own kind of source alone."""
SAME = 1e-9  # the metrics of record and those of the scores differ by rounding alone


def build(
    root: Path, samples: int, other: Path | None = None, name: str = "the other run", classic: bool = False
) -> Document:
    """The report on the run in ``root``.

    Args:
        samples: draws of users behind intervals.
        other: the folder of a run to compare with, which ``name`` names.
        classic: whether to show what `make baselines` left, too.

    Raises:
        DtiError: a file is missing or damaged, or files of several runs lie in one folder.
    """
    run, store = Run.read(root), Store.open(root / PACKED)
    draw, every = Bootstrap(samples, run.metrics["seed"]), Histories.read(store)
    _refuse_mixed(run, store)
    targets = _targets(run, store, every)
    found = models.qualities(run, targets, draw) if targets else {}
    beside = _beside(run, Run.read(other, record=True), name) if other else []
    tested = _tested(run, targets, found, draw) if targets else []
    return Document(
        title=f"{run.metrics['title']}: what this run is worth",
        subtitle=run.title,
        facts=_facts(run, found),
        sections=[
            Section("limits", "Read this first", [Words([*_limits(run, targets), *models.wins(found)], listed=True)]),
            *tested,
            *([rivals.section(run, draw)] if classic else []),
            *beside,
            figures.section(run, len(targets) if targets else 0, targets.users if targets else 0),
            cost.section(run),
            parity.section(run),
            card.section(run, store, every),
            _made_of(run, store),
        ],
    )


def _refuse_mixed(run: Run, store: Store) -> None:
    if run.pack["digest"] != store.meta.digest:
        raise DtiError(f"{run.root}/reports/pack.json does not belong to {store.folder}; run `dvc repro`")


def _targets(run: Run, store: Store, every: Histories) -> Targets | None:
    """The test targets; None without a test split.

    Raises:
        DtiError: the scores are missing, or not those of metrics.json.
    """
    scores = run.scores
    if scores is None:
        raise DtiError(f"{run.root}/data/scores/test.parquet: not found; run `dvc repro evaluate`")
    if not scores.label.size:
        return None
    of_record, found = run.metrics["auc"], scores.auc()
    if (of_record is None) != (found is None) or abs((of_record or 0.0) - (found or 0.0)) > SAME:
        raise DtiError(
            f"{scores.path}: AUC {number(found, '.6f')}, but reports/metrics.json says {number(of_record, '.6f')}; "
            "they are of different runs: run `dvc repro`"
        )
    return read_targets(store, every, scores, run.metrics["f1_threshold"])


def _tested(run: Run, targets: Targets, found: dict[str, Quality], draw: Bootstrap) -> list[Section]:
    rival = models.best_rival(found)
    return [models.section(run, targets, found, draw), slices.section(targets, rival, draw)]


def _beside(run: Run, other: Run, name: str) -> list[Section]:
    return [against.section(against.pair(run, other, name))]


def _facts(run: Run, found: dict[str, Quality]) -> list[Fact]:
    hours = run.train["training_hours"]
    facts = [Fact("training", clock(3600 * hours), f"{run.train['targets_per_second']:,.0f} targets/s")]
    gap = run.parity["max_abs_logit_gap"].get("all")
    facts.append(Fact("parity gap, k = all", number(gap, ".1e"), "largest logit difference to serving"))
    if not found:
        return facts
    auc, rival = found[MODEL].auc, models.best_rival(found)
    gain = auc.minus(found[rival].auc)
    return [
        Fact("test AUC", number(auc.value), _between(auc.low, auc.high)),
        Fact(f"gain over {rival}", number(gain.value, "+.4f"), _between(gain.low, gain.high, "+.4f")),
        *facts,
    ]


def _between(low: float | None, high: float | None, form: str = ".4f") -> str:
    return "no interval" if low is None or high is None else f"95 % by user: {low:{form}} to {high:{form}}"


def _limits(run: Run, targets: Targets | None) -> list[str]:
    """What the numbers are, and what they are not."""
    found, data = run.metrics, run.data
    lines = [
        f"One training run, seed {found['seed']}. Intervals say how much a result hangs on which users were drawn, not "
        "on the seed; another seed is another run.",
    ]
    if data["dataset"] == "demo":
        lines.append("The data set is generated: it shows that everything works, and nothing about real users.")
    elif not data["official"]:
        lines.append(f"UNOFFICIAL ARCHIVE: {why_unofficial(data)}. Do not put these numbers beside published ones.")
    kept = data["users_kept"]
    if kept["kept"] != kept["of"]:
        lines.append(f"A sample: {kept['kept']:,} of {kept['of']:,} users, drawn at random.")
    trained, there = run.train["train_targets"], data["splits"]["train"]
    if trained != there:
        lines.append(
            f"Trained on {trained:,} of {there:,} training targets, those of users drawn at random (`train.targets`); "
            "the baselines learned from all of them, and `reports/pack.json` counts all."
        )
    if found["backbone_weights"] != "float32":
        lines.append(f"The backbone's weights were quantised: {found['backbone_weights']}.")
    if targets is None:
        return [
            *lines,
            "No test split (`data.split: none`): this model was fitted on everything, and nothing tests it.",
        ]
    return [
        *lines,
        f"Tested on {len(targets):,} targets of {targets.users:,} users, later in time than all training targets. "
        "Their histories show the labels of everything earlier, test interactions included, as serving would.",
        f"Times are those of one machine ({machine(run)}), whatever else ran there; "
        "they differ from run to run. All other numbers repeat on one machine.",
    ]


def _read(run: Run, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that decide this run: not those of other sources, nor other data sets' templates."""
    name, family = run.data["dataset"], run.data["dataset"].split("-")[0]
    templates = parameters.get("pack", {}).get("templates", {})
    own = name if name in templates else family
    others = [f"pack.templates.{other}." for other in templates if other != own]
    others += [f"{source}." for source in SOURCES if source != family]
    skipped = (*others, *against.NO_MATTER)
    return {name: value for name, value in flatten(parameters).items() if not name.startswith(skipped)}


def _made_of(run: Run, store: Store) -> Section:
    """Parameters, and the checksums of all files that were read."""
    blocks: list[Block] = []
    if run.parameters is not None:
        rows = [cells(f"`{name}`", against.shown(value)) for name, value in _read(run, run.parameters).items()]
        note = "What they mean: `docs/parameters.md`."
        blocks.append(Table("Parameters", ["parameter", "value"], rows, "`params.yaml`", [note], texts=[1]))
    rows = [
        cells(f"`{path.relative_to(run.root).as_posix()}`", f"`{sha256_of(path)[:16]}`") for path in run.read_from()
    ]
    rows.append(cells(f"`{PACKED}`", f"`{store.meta.digest[:16]}`"))
    note = "The first 16 digits of each SHA-256; that of `data/packed` is the digest in its `meta.json`."
    blocks.append(
        Table("Files that this report was made from", ["file", "SHA-256"], rows, "the files", [note], texts=[1])
    )
    return Section("made-of", "What this report was made from", blocks)
