"""What training would cost, before it is done: tokens, FLOPs, hours and memory of each way to train on a store.

The parameters' own way is measured on whole steps:

    hours = epochs x targets x seconds of the steps / their targets / 3600

for at least 20 steps and 20 seconds: a CPU is fast for a moment after a rest, and trainings live with what comes then.
Another way is measured on single passes, at least 3 and for at least a quarter of that time, and extrapolated to its
steps by the cost model (flops.py):

    hours = epochs x targets x FLOPs of a target x seconds of the passes / their FLOPs / 3600

Such a pass is the first of a step, the fullest: where activation checkpointing is for large passes alone, the hours of
other ways are too high by what small ones do not compute again.

A way that cannot be run without long preparation is not measured: it takes the rate, FLOP/s, of the way most like it.
Tokens and FLOPs of a target are counted from the rows of some steps.

    memory = libraries + weights + 16 bytes x trained weights + kept states
             + 2 x what the largest pass of these steps keeps for its backward pass (with activation checkpointing a
               layer of it on top), or, if that is more, 2 x what a layer of validation's largest pass would keep

Libraries are what a process holds before it makes a model, and nothing on a GPU. The 16 bytes are gradient, AdamW's two
moments and the best value so far. The 2 is a rule: the backward pass has tensors of its own, and what is freed stays
with the process (a CPU took 1.6 and 1.8 times what was kept). Validation holds one layer at a time, but its passes are
as large as ``train.tokens_per_pass`` lets them be, where a step may fill none; a layer is taken to keep as much for a
token as in training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch

from dti.model.ctr import CtrModel
from dti.model.device import device_of
from dti.params import Attention, Params
from dti.prompts.batching import passes, rows, shortened
from dti.prompts.composition import Composition, epoch_steps
from dti.prompts.packing import Prompts, stream_prompts, training_prompts
from dti.prompts.row import Row
from dti.prompts.store import Store, Targets
from dti.training.checkpoint import trained_weights
from dti.training.flops import Shape, Work, counted
from dti.training.memory import resident_bytes
from dti.training.probe import kept_bytes, timed_step
from dti.training.run import model_of, record_of, sight_of, trained_on, validated_on
from dti.training.schedule import optimiser_of

How = Literal["measured", "extrapolated", "not measured"]
COUNTED = 16
"""Steps whose tokens and FLOPs are counted, at most those of an epoch."""
PASSES = 3
"""Passes that are timed, at least, of a way other than the parameters' own, behind one that warms up."""


@dataclass(frozen=True)
class Way:
    """A way to train: how prompts are cut, and how the model reads them."""

    name: str
    k: Targets
    attention: Attention


@dataclass(frozen=True)
class Cost:
    """What a way would cost.

    Attributes:
        tokens, flops: of an epoch.
        rate: FLOP/s.
        hours: of an epoch.
        memory: bytes.
        how: whether the hours were measured.
    """

    way: Way
    tokens: float
    flops: float
    rate: float
    hours: float
    memory: int
    how: How


def ways(params: Params, k: Targets) -> list[Way]:
    """The parameters' own way, and those that it could be compared with."""
    plain = {"slopes": "fixed", "probe_tokens": 1, "leakage": "none", "content": "trained", "layout": "stream"}
    window = plain | {"policy": "window", "probe_position": "alibi", "context": "all"}
    isolated = plain | {"policy": "isolated", "probe_position": "local", "context": "label"}

    def way(name: str, k: Targets, values: dict[str, Any]) -> Way:
        return Way(name, k, params.attention.model_copy(update=values))

    streams: list[Targets] = [k, "all"] if k not in (1, "all") else ["all"]
    found = [Way("these parameters", k, params.attention)]
    found.append(way("sliding window", 1, window | {"probe_position": "rope"}))
    found += [way("window stream", size, window) for size in streams]
    found.append(way("isolated stream", "all", isolated))
    found.append(way("isolated unique", "all", isolated | {"layout": "unique"}))
    if params.model.tuning == "lora":
        found.append(way("frozen content", "all", isolated | {"layout": "unique", "content": "frozen"}))
    return found


class Planner:
    """Measures ways on one model, whose weights stay what they are.

    Args:
        store: the packed data.
        params: the parameters; ``train.processes`` is left out of account.
        steps, seconds: how many steps of the parameters' own way are timed at least, and for how long at least.
    """

    def __init__(self, store: Store, params: Params, steps: int, seconds: float) -> None:
        self.store, self.params, self.steps, self.seconds = store, params, steps, seconds
        self.targets = int(trained_on(store, training_prompts(store), params.train).targets.sum())
        libraries = resident_bytes()
        self.model: CtrModel = model_of(store, params, record_of(store, params)).train()
        self.libraries = libraries if self.model.device.type == "cpu" else 0
        self.shape = Shape.of(self.model.stock.config)
        still = params.train.model_copy(update={"learning_rate": 1e-12})
        self.optimiser = optimiser_of(trained_weights(self.model).values(), still)

    def costs(self) -> list[Cost]:
        """All ways, the parameters' own first."""
        found: list[Cost] = []
        for way in ways(self.params, self.store.meta.k):
            found.append(self.cost(way, found))
        return found

    def cost(self, way: Way, earlier: Sequence[Cost]) -> Cost:
        """One way; ``earlier`` ones lend their rate where it cannot be measured."""
        self.model.sight, self.model.layout = sight_of(way.attention, self.store.meta.n), way.attention.layout
        targets = self.targets
        work, counted_targets, found = self._counted(way)
        tokens, flops = (total * targets / counted_targets for total in (work.tokens, self._flops(work)))
        if way.attention.content == "frozen" and self.model.states is None:
            rate = earlier[-1].rate
            return Cost(way, tokens, flops, rate, flops / rate / 3600, earlier[-1].memory, "not measured")
        seconds, how = self._seconds(way, flops / targets)
        hours = targets * seconds / 3600
        return Cost(way, tokens, flops, flops / hours / 3600, hours, self._memory(way, found), how)

    def _seconds(self, way: Way, flops: float) -> tuple[float, How]:
        """Seconds that a target takes, of ``flops`` FLOPs on average."""
        if way.attention == self.params.attention and way.k == self.store.meta.k:
            return self._own(way), "measured"
        parts = (self._first_pass(way, step) for step in self._steps(way))
        taken, _, done = self._timed_for(parts, PASSES, self.seconds / 4)
        return flops * taken / done, "extrapolated"

    def _own(self, way: Way) -> float:
        """Seconds that a target takes over whole steps."""
        taken, targets, _ = self._timed_for(self._steps(way), self.steps, self.seconds)
        return taken / targets

    def _timed_for(self, parts: Iterator[Prompts], count: int, seconds: float) -> tuple[float, int, float]:
        """Sums of ``_timed`` over at least so many parts and seconds, behind one part that warms up."""
        done, taken, targets, flops = 0, 0.0, 0, 0.0
        self._timed(next(parts))
        while done < count or taken < seconds:
            more, some, work = self._timed(next(parts))
            done, taken, targets, flops = done + 1, taken + more, targets + some, flops + work
        return taken, targets, flops

    def _timed(self, prompts: Prompts) -> tuple[float, int, float]:
        """Seconds, targets and FLOPs of a step of these prompts."""
        batch, seconds = timed_step(self.model, self.optimiser, self.store, prompts, self.params.train)
        work = sum((counted(row, self.model.sight) for row in batch), Work())
        return seconds, int(prompts.targets.sum()), self._flops(work)

    def _counted(self, way: Way) -> tuple[Work, int, list[Row]]:
        """The work of some steps, their targets, and their rows."""
        epoch = -(-self.targets // self.params.train.targets_per_step)
        steps = list(islice(self._steps(way), min(epoch, COUNTED)))
        tokens, layout = self.params.train.tokens_per_pass, way.attention.layout
        found = [row for step in steps for row in rows(self.store, step, tokens, layout)]
        work = sum((counted(row, self.model.sight) for row in found), Work())
        return work, sum(int(step.targets.sum()) for step in steps), found

    def _flops(self, work: Work) -> float:
        return work.flops(self.shape, self.params.model.tuning)

    def _memory(self, way: Way, found: Sequence[Row]) -> int:
        """Bytes, by the module's formula, of a training of such rows."""
        trained = sum(p.numel() for p in trained_weights(self.model).values())
        held = sum(p.numel() * p.element_size() for p in self.model.parameters())
        states = self.model.states.shape.bytes if way.attention.content == "frozen" and self.model.states else 0
        kept, layer = self._kept(found)
        return self.libraries + held + 16 * trained + states + int(2 * max(kept, layer * self._validated_tokens()))

    def _kept(self, found: Sequence[Row]) -> tuple[float, float]:
        """Bytes that a pass of these rows keeps at most, and that a layer keeps of a token."""
        model, precision = self.model, self.params.train.precision
        again = [row for row in found if model.computes_again(row)]
        fit = [row for row in found if not model.computes_again(row)]
        sample = max(fit, key=model.tokens_of) if fit else min(again, key=model.tokens_of)
        model.checkpointed_above = None
        whole = kept_bytes(model, sample, precision)
        model.checkpointed_above = self.params.train.checkpointed_above
        layer = whole / model.tokens_of(sample) / self.shape.layers
        kept = [float(whole)] if fit else []
        if again:  # and one layer at a time what it computes again
            largest = max(again, key=model.tokens_of)
            kept.append(kept_bytes(model, largest, precision) + layer * model.tokens_of(largest))
        return max(kept), layer

    def _validated_tokens(self) -> int:
        """Tokens of validation's largest pass; 0 where nothing validates."""
        prompts = validated_on(self.store, self.params.train, self.model.sight)
        tokens, layout = self.params.train.tokens_per_pass, self.model.layout
        found = rows(self.store, prompts, tokens, layout) if prompts else ()
        return max(map(self.model.tokens_of, found), default=0)

    def _steps(self, way: Way) -> Iterator[Prompts]:
        """Steps as training makes them, epoch after epoch."""
        own = way.k == self.store.meta.k
        prompts = training_prompts(self.store) if own else stream_prompts(self.store, "train", way.k)
        train, epoch = self.params.train, 0
        prompts = trained_on(self.store, prompts, train)
        if way.attention.policy == "isolated":
            prompts = shortened(self.store, prompts, train.tokens_per_pass)
        composition: Composition = train.composition if way.attention.layout == "unique" else "mixed"
        while True:
            yield from epoch_steps(self.store, prompts, train.targets_per_step, (train.seed, epoch), composition)
            epoch += 1

    def _first_pass(self, way: Way, step: Prompts) -> Prompts:
        return passes(self.store, step, self.params.train.tokens_per_pass, way.attention.layout)[0]


def table(costs: Sequence[Cost], params: Params) -> str:
    """The plan as text: sums over all epochs."""
    epochs, processes = params.train.epochs, params.train.processes
    lines = [
        f"{'way':<18}{'k':>5}{'tokens':>16}{'TFLOP':>12}{'GFLOP/s':>9}{'hours':>10}{'GiB':>7}  hours are",
    ]
    for cost in costs:
        lines.append(
            f"{cost.way.name:<18}{cost.way.k:>5}{epochs * cost.tokens:>16,.0f}{epochs * cost.flops / 1e12:>12,.2f}"
            f"{cost.rate / 1e9:>9,.1f}{epochs * cost.hours:>10.4f}{cost.memory / 2**30:>7.2f}  {cost.how}"
        )
    lines.append(
        f"{epochs} epochs (train.epochs; patience may end them earlier), {_device(params)}, {torch.get_num_threads()} "
        "threads, training alone: validation and checkpoints come on top"
    )
    if processes > 1:
        lines.append(f"for one process; {processes} take at best 1/{processes} of the hours")
    return "\n".join(lines)


def facts(costs: Sequence[Cost], params: Params) -> dict[str, Any]:
    """The plan for programs: tokens, FLOPs and hours are those of an epoch."""
    found = ("tokens", "flops", "rate", "hours", "memory", "how")
    return {
        "epochs": params.train.epochs,
        "device": _device(params),
        "threads": torch.get_num_threads(),
        "ways": [
            {"way": cost.way.name, "k": cost.way.k} | {name: getattr(cost, name) for name in found} for cost in costs
        ],
    }


def _device(params: Params) -> str:
    return torch.cuda.get_device_name() if device_of(params.train.device).type == "cuda" else "CPU"
