"""The parity gap: a target's logit in streaming prompts against its serving prompt, same weights (ours)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dti.evaluation.metrics import auc
from dti.model.ctr import CtrModel
from dti.model.scoring import answers_of, logits_of
from dti.prompts.packing import Prompts, recut, stream_prompts
from dti.prompts.store import Split, Store, Targets

TOLERANCE = 1e-5
"""A model whose streams differ from serving by more than this is never scored on streams."""


@dataclass(frozen=True)
class Gap:
    """What streaming at one k changes: |logit in the stream - logit in the serving prompt|, and AUC on either."""

    mean: float
    p99: float
    max: float
    auc_stream: float | None
    auc_serving: float | None


@dataclass(frozen=True)
class Parity:
    """The gaps of the targets of some users of one split, by k."""

    split: Split
    targets: int
    gaps: dict[Targets, Gap]

    @property
    def holds(self) -> bool:
        """Whether whole histories in one stream stand in for serving prompts."""
        return bool(self.gaps) and self.gaps["all"].max <= TOLERANCE

    def report(self) -> dict[str, Any]:
        """The content of reports/parity.json."""
        return {
            "split": self.split,
            "targets": self.targets,
            "max_abs_logit_gap": {str(k): gap.max for k, gap in self.gaps.items()},
            "k": {str(k): asdict(gap) for k, gap in self.gaps.items()},
        }


def measure_parity(model: CtrModel, store: Store, targets: int, tokens: int) -> Parity:
    """Measure the gap at k = 5, 50, all and the k of training, on the test split (else validation, else none).

    Args:
        targets: how many targets to compare, at least (all, where there are fewer): those of randomly chosen users.
        tokens: content tokens of one forward pass, at most.
    """
    split: Split = "test" if store.meta.counts.test else "valid"
    streams = _enough_users(stream_prompts(store, split, "all"), targets)
    if len(streams) == 0:
        return Parity(split, 0, {})
    label = answers_of(store, streams)
    served = _served(model, store, recut(store, streams, 1), tokens)
    gaps = {}
    for k in _ks(store.meta.k):
        streamed = logits_of(model, store, recut(store, streams, k), tokens, f"parity, k = {k}")
        gaps[k] = _gap(label, streamed, served)
    return Parity(split, label.size, gaps)


def _served(model: CtrModel, store: Store, prompts: Prompts, tokens: int) -> np.ndarray:
    """Logits of serving prompts, each read for itself whatever the layout of training.

    Frozen content alone keeps its layout: the catalogue's states are what serves.
    """
    trained = model.layout
    model.layout = trained if model.sight.content == "frozen" else "stream"
    try:
        return logits_of(model, store, prompts, tokens, "parity, serving prompts")
    finally:
        model.layout = trained


def parity_table(report: dict[str, Any]) -> str:
    """The report as lines for the terminal."""
    if not report["k"]:
        return "parity: no targets are held out, so none can be compared"
    head = "    k      mean       p99       max   AUC, stream  AUC, serving    change"
    lines = [f"parity gap on {report['targets']:,} {report['split']} targets, in logits", head]
    for k, gap in report["k"].items():
        scores = "  ".join(_cells(gap["auc_stream"], gap["auc_serving"]))
        lines.append(f"{k:>5}  {gap['mean']:8.1e}  {gap['p99']:8.1e}  {gap['max']:8.1e}  {scores}")
    return "\n".join(lines)


def _cells(stream: float | None, serving: float | None) -> tuple[str, str, str]:
    if stream is None or serving is None:
        return f"{'-':>12}", f"{'-':>12}", f"{'-':>8}"
    return f"{stream:12.4f}", f"{serving:12.4f}", f"{stream - serving:+8.4f}"


def _ks(trained: Targets) -> list[Targets]:
    numbers = sorted({5, 50, *([trained] if isinstance(trained, int) and trained > 1 else [])})
    return [*numbers, "all"]


def _enough_users(streams: Prompts, targets: int) -> Prompts:
    shuffled = streams.take(np.random.default_rng(0).permutation(len(streams)))
    return shuffled.take(slice(0, int(np.searchsorted(np.cumsum(shuffled.targets), targets)) + 1))


def _gap(label: np.ndarray, streamed: np.ndarray, served: np.ndarray) -> Gap:
    gap = np.abs(streamed - served)
    p99 = float(np.quantile(gap, 0.99))
    return Gap(float(gap.mean()), p99, float(gap.max()), auc(label, streamed), auc(label, served))
