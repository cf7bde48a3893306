"""The rows of the benchmark, the models that they train, and whole optimiser steps with a clock."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch

from benchmarks.workloads import model_of
from dti.attention.plugin import Backend, Choice, backend_of
from dti.attention.visibility import Content, Context, Policy, ProbePosition, Sight
from dti.model.backbone import halve_frozen, with_lora
from dti.model.catalogue import give_states
from dti.model.ctr import CtrModel
from dti.params import Lora, Train
from dti.prompts.batching import shortened
from dti.prompts.build import content_tokens, interactions_of
from dti.prompts.composition import Composition, epoch_steps
from dti.prompts.packing import Prompts, stream_prompts
from dti.prompts.row import Layout, Row
from dti.prompts.store import Store, Targets
from dti.training.checkpoint import trained_weights
from dti.training.flops import Shape, Tuning, Work, counted
from dti.training.probe import timed_step
from dti.training.schedule import optimiser_of

STREAM_PASS = 16_384
"""The usual ``Bench.stream_pass``: streams share nothing in a pass, and large ones are slower."""
CUT = 8
"""A step of prompts of k targets holds at least this many, so that cuts at its ends do not count."""
PASSES = 4
"""And at least this many passes, so that a last one that is not full does not count."""


@dataclass(frozen=True)
class Paradigm:
    """A row of the benchmark: how prompts are cut, laid out and read, and what is trained."""

    name: str
    k: Targets
    targets: int
    tuning: Tuning
    policy: Policy
    probe_position: ProbePosition
    context: Context
    layout: Layout = "stream"
    content: Content = "trained"
    composition: Composition = "mixed"
    backend: Choice = "auto"

    @property
    def key(self) -> str:
        """Names the row among all of a run."""
        return f"{self.name} k={self.k} {self.targets} {self.tuning}".replace(" ", "-")

    @property
    def steps_a_round(self) -> int:
        """Several where one step costs more than another: those that were composed last share least."""
        return 8 if self.composition == "overlapping" else 1

    def sight(self, n: int) -> Sight:
        """How the model reads."""
        return Sight(self.policy, self.probe_position, self.context, n, content=self.content)

    def piece(self, targets_per_second: float, seconds: float, filling: int) -> int:
        """Targets of a timed step: all of them, or what the time allows where that changes no rate.

        The rate of a sliding window does not depend on the step, nor does that of prompts that are short beside it,
        as long as they fill a pass. What shares items or holds whole users is timed at its full step.

        Args:
            filling: targets that fill a pass; a step is cut to whole passes, and several of them.
        """
        if self.k == "all" or self.layout == "unique":
            return self.targets
        least = max(int(targets_per_second * seconds), CUT * self.k, PASSES * filling)
        return min(self.targets, -(-least // filling) * filling)


@dataclass(frozen=True)
class Step:
    """What one timed step took.

    Attributes:
        seconds: prompts chosen, rows built, forward, backward, clipped, weights updated.
        work: tokens and pairs, counted.
        distinct: distinct items among its interactions.
        texts, labels: encoded texts, and the label tokens behind them.
        peak: bytes of GPU memory at most; 0 on the CPU.
    """

    targets: int
    seconds: float
    work: Work
    distinct: int
    texts: int
    labels: int
    peak: int

    def __add__(self, other: "Step") -> "Step":
        """Both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in vars(self) if name != "peak"}
        return Step(**sums, peak=max(self.peak, other.peak))


@dataclass
class Bench:
    """A store and one model per tuning, which all rows of that tuning share: the same weights and optimiser.

    Attributes:
        stream_pass: content tokens of a pass of streams, at most.
        backend: what attends, but in rows that name another; ``prepare`` takes the device's best.
        catalogue: what computing the states of frozen content took; empty without such a row.
        epochs: the steps of epochs that were composed, and the seconds that this took for each target.
    """

    store: Store
    shape: Shape
    params: Train
    lora: Lora
    device: torch.device
    stream_pass: int = STREAM_PASS
    backend: Backend = "blocks"
    models: dict[Tuning, CtrModel] = field(default_factory=dict)
    optimisers: dict[Tuning, torch.optim.Optimizer] = field(default_factory=dict)
    catalogue: dict[str, float] = field(default_factory=dict)
    epochs: dict[tuple[Paradigm, int, int], tuple[list[Prompts], float]] = field(init=False, default_factory=dict)

    def prepare(self, paradigms: Sequence[Paradigm]) -> None:
        """Make the models, and the states that frozen content needs, in a temporary home."""
        self.backend = backend_of("auto", self.device)
        for tuning in dict.fromkeys(p.tuning for p in paradigms):
            stock = model_of(self.shape, self.store, self.device)
            tokens = self.store.meta.tokens
            backbone = with_lora(stock, self.lora, tokens.sum) if tuning == "lora" else stock
            if tuning == "lora" and self.params.precision == "bf16":
                halve_frozen(backbone)
            first = next(p for p in paradigms if p.tuning == tuning)
            model = CtrModel(backbone, tokens, first.sight(self.store.meta.n), self.backend).to(self.device)
            model.checkpointed_above = self.params.checkpointed_above
            if self.params.compile:
                model.compile_layers()
            self.models[tuning] = model
            self.optimisers[tuning] = optimiser_of(trained_weights(model).values(), self.params)
        for paradigm in [p for p in paradigms if p.content == "frozen"][:1]:
            self._catalogue(paradigm)

    def model(self, paradigm: Paradigm) -> CtrModel:
        """The model, set to read and to be fed in this way."""
        model = self.models[paradigm.tuning]
        model.sight, model.layout = paradigm.sight(self.store.meta.n), paradigm.layout
        model.backend = self.backend if paradigm.backend == "auto" else paradigm.backend
        return model.train()

    def train_of(self, paradigm: Paradigm) -> Train:
        """How the row is trained: streams, the sliding window's too, have passes of a size that suits them."""
        if paradigm.layout == "unique":
            return self.params
        return self.params.model_copy(update={"tokens_per_pass": min(self.params.tokens_per_pass, self.stream_pass)})

    def steps(self, paradigm: Paradigm, targets: int) -> Iterator[tuple[Prompts, float]]:
        """Steps of exactly so many targets, epoch after epoch; one of all targets where the store has no more.

        Each comes with its share of the seconds that composing the epoch took.
        """
        targets = min(targets, self.store.meta.counts.train)
        for epoch in count():
            steps, each = self._epoch(paradigm, targets, epoch)
            full = [step for step in steps if step.targets.sum() == targets]
            for step in full if paradigm.steps_a_round == 1 else self._sampled(full, paradigm.steps_a_round, epoch):
                yield step, each * targets

    def _sampled(self, steps: Sequence[Prompts], size: int, epoch: int) -> Iterator[Prompts]:
        """All steps in groups of ``size``, each of which stands for all: from every part of them, by distinct items."""
        stride = len(steps) // size
        if not stride:
            yield from steps
        sizes = [np.unique(interactions_of(self.store, step).item_M).size for step in steps]
        order = np.argsort(sizes, kind="stable")
        for first in np.random.default_rng((self.params.seed, epoch)).permutation(stride):
            yield from (steps[place] for place in order[first::stride][:size])

    def round(self, paradigm: Paradigm, feed: Iterator[tuple[Prompts, float]]) -> Step:
        """What a row does when its turn comes: the next steps of ``feed``, together."""
        first, *others = (self.step(paradigm, *next(feed)) for _ in range(paradigm.steps_a_round))
        return sum(others, first)

    def _epoch(self, paradigm: Paradigm, targets: int, epoch: int) -> tuple[list[Prompts], float]:
        """See ``epochs``."""
        found = self.epochs.get((paradigm, targets, epoch))
        if found is None:
            prompts = stream_prompts(self.store, "train", paradigm.k)
            if paradigm.policy == "isolated":
                prompts = shortened(self.store, prompts, self.train_of(paradigm).tokens_per_pass)
            seed, began = (self.params.seed, epoch), time.perf_counter()
            steps = list(epoch_steps(self.store, prompts, targets, seed, paradigm.composition))
            each = (time.perf_counter() - began) / self.store.meta.counts.train
            found = self.epochs[paradigm, targets, epoch] = (steps, each)
        return found

    def filling(self, paradigm: Paradigm) -> int:
        """How many targets of mean streams a pass holds."""
        prompts = stream_prompts(self.store, "train", paradigm.k)
        tokens = int(content_tokens(self.store, prompts).sum())
        return max(1, self.train_of(paradigm).tokens_per_pass * int(prompts.targets.sum()) // tokens)

    def step(self, paradigm: Paradigm, prompts: Prompts, composing: float = 0) -> Step:
        """One whole step with a clock; what is counted is counted behind it.

        Args:
            composing: seconds that choosing its prompts took.
        """
        model = self.model(paradigm)
        self._settle()
        optimiser, train = self.optimisers[paradigm.tuning], self.train_of(paradigm)
        batch, seconds = timed_step(model, optimiser, self.store, prompts, train)
        peak = self._settle()
        return self._counted(model.sight, prompts, batch, composing + seconds, peak)

    def _settle(self) -> int:
        """Wait for the GPU; returns its peak since the last time, and begins anew."""
        if self.device.type != "cuda":
            return 0
        torch.cuda.synchronize()
        peak = int(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return peak

    def _counted(self, sight: Sight, prompts: Prompts, batch: list[Row], seconds: float, peak: int) -> Step:
        work = sum((counted(row, sight) for row in batch), Work())
        return Step(
            targets=int(prompts.targets.sum()),
            seconds=seconds,
            work=work,
            distinct=int(np.unique(interactions_of(self.store, prompts).item_M).size),
            texts=sum(row.start_E.size for row in batch),
            labels=sum(int((row.stop_E - row.text_stop_E).sum()) for row in batch),
            peak=peak,
        )

    def _catalogue(self, paradigm: Paradigm) -> None:
        model = self.model(paradigm)
        began = time.perf_counter()
        with temporary_home():
            give_states(model, self.store, self.params.tokens_per_pass, self.params.precision)
        self._settle()
        assert model.states is not None
        shape = model.states.shape
        self.catalogue = {"seconds": time.perf_counter() - began, "tokens": shape.tokens, "bytes": shape.bytes}


@contextmanager
def temporary_home() -> Iterator[None]:
    """``DTI_HOME`` is a folder that goes away; what is mapped from it stays readable."""
    before = os.environ.get("DTI_HOME")
    with tempfile.TemporaryDirectory(prefix="dti-paradigms-") as name:
        os.environ["DTI_HOME"] = name
        try:
            yield
        finally:
            os.environ.pop("DTI_HOME") if before is None else os.environ.update(DTI_HOME=before)
