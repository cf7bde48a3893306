"""The model card of a version: what it is, what it was trained on, how good it is, and what it cannot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dti.evaluation.table import result_table
from dti.files import read_json
from dti.params import Params
from dti.registry.record import Record

LIMITS = (
    "Scores are click probabilities for this data set's users and labels; calibration elsewhere is unknown.",
    "Test users' earlier labels are known to the model, as they are in service; without any, the item's text decides.",
    "Intervals draw users anew; they say nothing of another seed or another period.",
)
TEXTS = "Item texts are all that it knows of an item: one without text says nothing."
TOKENS = "Items that were training targets have a token of their own; it knows the others by their text alone."


def model_card(record: Record, root: Path, params: Params) -> str:
    """The card in Markdown, from the reports in the project's folder ``root``."""
    reports = {name: read_json(root / "reports" / f"{name}.json") for name in ("metrics", "data", "train", "parity")}
    sections = {
        "What it is": _what(record, params),
        "Data": _data(record, reports["data"], params),
        "Metrics": f"```\n{result_table(reports['metrics'])}\n```\n{_parity(reports)}",
        "Cost": _cost(record, reports["train"]),
        "Limits": "\n".join(f"- {limit}" for limit in (*LIMITS, *_warnings(record, params))),
        "Made from": _made_from(record),
    }
    return f"# {record.name}\n\n" + "\n\n".join(f"## {title}\n{text}" for title, text in sections.items()) + "\n"


def _what(record: Record, params: Params) -> str:
    model, attention, tags = params.model, params.attention, record.tags
    weights = "all weights trained" if model.tuning == "full" else f"LoRA adapter, rank {model.lora.r}"
    reference = ", ".join(
        f"{name} {tags[tag]}"
        for name, tag in (("revision", "dti.revision"), ("digest", "dti.base_digest"))
        if tag in tags
    )
    probes = f"probes read {attention.context} tokens, positions {attention.probe_position}"
    probes += f", {attention.probe_tokens} tokens a target" if attention.probe_tokens > 1 else ""
    probes += ", learned slopes" if attention.slopes == "learned" else ""
    base = f"{Path(model.backbone).name} ({tags['dti.backbone_weights']}{', ' if reference else ''}{reference})"
    return (
        f"A language model that scores (user, item) pairs: the probability of a positive label, read from a user's "
        f"{params.pack.n} last interactions and the item's text. Base {base}, {weights}; content {attention.policy}, "
        f"{probes}; trained on prompts of "
        f"k = {params.pack.k} targets, seed {params.train.seed}."
    )


def _data(record: Record, data: Mapping[str, Any], params: Params) -> str:
    counts = ", ".join(f"{data[name]:,} {name}" for name in ("interactions", "users", "items") if name in data)
    times = f" from {data['first_time']} to {data['last_time']}" if "first_time" in data else ""
    split = "every target trains" if params.data.split == "none" else "targets are split by global time"
    return f"{record.tags['dti.title']}: {counts}{times}; {split}."


def _parity(reports: Mapping[str, Mapping[str, Any]]) -> str:
    gaps = reports["parity"]["max_abs_logit_gap"]
    shown = ", ".join(f"{gap:.1e} at k = {k}" for k, gap in gaps.items())
    return f"Parity gap, logits in streams against serving prompts, at most: {shown or 'not measured'}."


def _cost(record: Record, train: Mapping[str, Any]) -> str:
    hours, device = train["training_hours"], train.get("device", "unknown device")
    known = "train_tokens" in train and "train_targets" in train
    epoch = f", {train['train_tokens']:,} tokens of {train['train_targets']:,} targets an epoch" if known else ""
    return f"{hours:.4f} training hours on {device}{epoch}."


def _warnings(record: Record, params: Params) -> list[str]:
    found = [TOKENS if params.pack.item_tokens else TEXTS]
    if record.tags["dti.official_archive"] == "false":
        found.append("The data came from an unofficial archive.")
    if params.data.split == "none":
        found.append("Every target was trained on: there are no test metrics of this model.")
    if params.attention.policy == "window":
        found.append(
            "Windows leak: streams and serving prompts give different logits; scores were taken on serving prompts."
        )
    return found


def _made_from(record: Record) -> str:
    tags = record.tags
    if "mlflow.source.git.commit" not in tags:
        code = "code outside git: `python -m dti reproduce` cannot rebuild it"
    elif tags["dti.git_dirty"] == "true":
        code = f"uncommitted code on {tags['mlflow.source.git.commit']}: `python -m dti reproduce` cannot rebuild it"
    else:
        code = f"commit {tags['mlflow.source.git.commit']}"
    hashes = "".join(f"\n- {tag} {value}" for tag, value in tags.items() if tag.startswith("dvc."))
    return f"- {code}{hashes}\n- result {record.key}"
