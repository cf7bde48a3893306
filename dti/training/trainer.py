"""The loop: steps of exactly ``targets_per_step`` targets, validation after each epoch, the best weights kept."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from dti.errors import DtiError
from dti.model.ctr import CtrModel
from dti.model.device import arithmetic
from dti.model.scoring import answers_of, logits_of, probability
from dti.params import Train
from dti.progress import Progress
from dti.prompts.composition import epoch_steps
from dti.prompts.packing import Prompts
from dti.prompts.row import Row
from dti.prompts.store import Store
from dti.training.checkpoint import Checkpoint, Named, State, trained_weights
from dti.training.energy import Meter
from dti.training.engine import Engine, Shared
from dti.training.interrupt import stop_requests
from dti.training.ranks import whole
from dti.training.schedule import optimiser_of, rate_at
from dti.training.share import Batch, batch_of, scores


@dataclass(frozen=True)
class Work:
    """What a run trains on: the store, its training prompts, and the validation prompts (none with ``split: none``)."""

    store: Store
    training: Prompts
    validation: Prompts | None


class Trainer:
    """One training run.

    Args:
        model: its parameters that require gradients are trained.
        work: the data.
        params: how.
        checkpoint: where the run is kept until it ends.
        engine: how the model is shared with other processes.
    """

    def __init__(self, model: CtrModel, work: Work, params: Train, checkpoint: Checkpoint, engine: Engine) -> None:
        self.model, self.work, self.params, self.checkpoint = model, work, params, checkpoint
        self.engine, self.ranks = engine, engine.ranks
        self.optimiser = optimiser_of(trained_weights(model).values(), params)
        self.state, self.best = checkpoint.restore(model, self.optimiser)
        self.steps_per_epoch = -(-int(work.training.targets.sum()) // params.targets_per_step)
        self.saved = time.monotonic()
        self.stop: Callable[[], bool] = lambda: False
        self.meter = Meter(self.ranks.count if model.device.type == "cuda" else 0)

    def run(self) -> State:
        """Train to the end, or until validation stops improving; the model then holds the best weights.

        Raises:
            KeyboardInterrupt: a stop was asked for; the checkpoint holds everything up to the last step.
            DtiError: the loss is not finite.
        """
        with stop_requests() as asked:
            self.stop = lambda: self.ranks.any(asked())[0]
            while not self._finished():
                self._epoch(asked)
                self._save()
                self._validate()
                self._save()
                if self.stop():
                    raise KeyboardInterrupt
        with torch.no_grad():
            for name, weight in trained_weights(self.model).items():
                weight.copy_(self.best[name])
        return self.state

    def whole_weights(self) -> Named:
        """The trained weights, whole and on the CPU, wherever their parts are; all processes must ask."""
        return {name: whole(weight.detach()).cpu() for name, weight in trained_weights(self.model).items()}

    @property
    def best_epoch(self) -> int:
        """The epoch (1-based) whose weights are kept: the best by validation AUC, else the last."""
        scores = [row["valid_auc"] for row in self.state.history]
        known = [s for s in scores if s is not None]
        return scores.index(max(known)) + 1 if known else len(scores)

    def _finished(self) -> bool:
        done = self.state.epoch
        stale = done - self.best_epoch
        return done >= self.params.epochs or (self.params.patience > 0 and stale >= self.params.patience)

    def _epoch(self, asked: Callable[[], bool]) -> None:
        state, params = self.state, self.params
        total = int(self.work.training.targets.sum())
        seed = (params.seed, state.epoch)
        steps = epoch_steps(
            self.work.store, self.work.training, params.targets_per_step, seed, composition=params.composition
        )
        self.model.train()
        self.meter.joules()
        what, done = f"epoch {state.epoch + 1}/{params.epochs}", min(state.step * params.targets_per_step, total)
        with Progress(what, total, "targets", done=done) as progress, ThreadPoolExecutor(1) as executor:
            batches = _ahead(executor, self._batches(steps, skip=state.step))
            while (batch := self._wait(batches)) is not None:
                loss = self._step(batch)
                progress.advance(batch.targets, f"loss {loss:.4f}")
                due = time.monotonic() - self.saved >= params.checkpoint_seconds
                stop, due = self.ranks.any(asked(), due)
                if stop or due:
                    self._save()
                if stop:
                    self.ranks.wait()  # for the first process's checkpoint
                    raise KeyboardInterrupt

    def _batches(self, steps: Iterator[Prompts], skip: int) -> Iterator[Batch]:
        for number, prompts in enumerate(steps):
            if number >= skip:
                tokens, layout = self.params.tokens_per_pass, self.model.layout
                yield batch_of(self.work.store, prompts, tokens, layout, self.ranks)

    def _wait(self, batches: Iterator[Batch]) -> Batch | None:
        began = time.perf_counter()
        batch = next(batches, None)
        self.state.wait += time.perf_counter() - began
        return batch

    def _step(self, batch: Batch) -> float:
        """One optimiser step over all passes of ``batch``; returns the mean loss per target."""
        began, state = time.perf_counter(), self.state
        number = state.epoch * self.steps_per_epoch + state.step
        # Dropout repeats itself after a resume; each process draws its own.
        torch.manual_seed(self.params.seed * 1_000_003 + number + self.ranks.rank * 7_654_321)
        share = rate_at(number, self.params.epochs * self.steps_per_epoch, self.params.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = self.params.learning_rate * share
        loss, tokens = self._gradients(batch)
        norm = float(whole(torch.nn.utils.clip_grad_norm_(trained_weights(self.model).values(), self.params.clip)))
        if not np.isfinite(loss + norm):
            where = f"step {number + 1}: the loss is {loss}, the gradient's norm {norm}"
            raise DtiError(f"train, {where}; lower train.learning_rate or set train.precision fp32")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        state.step += 1
        state.targets += batch.targets
        state.tokens += tokens
        state.loss += loss * batch.targets
        state.joules += self.meter.joules()
        state.compute += time.perf_counter() - began
        return loss

    def _gradients(self, batch: Batch) -> tuple[float, int]:
        """The gradients of the step's mean loss; returns that loss and the tokens of all processes' passes."""
        working = len(batch.rows) - batch.idle
        share = batch.targets / self.ranks.count  # the engines average over processes: each share counts that much more
        losses, tokens = [], 0
        for place, row in enumerate(batch.rows):
            count = share if place < working else math.inf
            with self.engine.gathering(last=place == len(batch.rows) - 1):
                losses.append(backward(self.engine.module, row, count, self.params.precision))
            tokens += self.model.tokens_of(row) if place < working else 0
        loss = torch.stack(losses).double().sum().item() / self.ranks.count  # a GPU is waited for once a step
        if self.ranks.alone:
            return loss, tokens
        loss, total = self.ranks.sum(torch.tensor([loss, tokens], dtype=torch.float64)).tolist()
        return loss, int(total)

    def _validate(self) -> None:
        began, state = time.perf_counter(), self.state
        count = int(self.work.training.targets.sum())
        auc, loss = self._valid_scores()
        state.epoch, state.step = state.epoch + 1, 0
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.epoch * self.steps_per_epoch,
                "targets": state.targets,
                "hours": state.hours,
                "train_loss": state.loss / count,
                "valid_auc": auc,
                "valid_log_loss": loss,
            }
        )
        state.loss = 0.0
        if self.best_epoch == state.epoch:
            self.best = {name: w.detach().clone() for name, w in trained_weights(self.model).items()}
        state.validation += time.perf_counter() - began
        if auc is not None:
            print(f"epoch {state.epoch}: validation AUC {auc:.4f}, log loss {loss:.4f}", flush=True)

    def _valid_scores(self) -> tuple[float | None, float | None]:
        prompts, store = self.work.validation, self.work.store
        if prompts is None:
            return None, None
        tokens = self.params.tokens_per_pass
        with arithmetic(self.model.device, self.params.precision):
            if self.ranks.alone:
                logits = logits_of(self.model, store, prompts, tokens, "validation", self.stop)
            else:
                logits = scores(self.model, store, prompts, tokens, self.ranks, self.stop)
        self.engine.part()
        score = probability(logits)
        answer = answers_of(store, prompts)
        auc = float(roc_auc_score(answer, score)) if 0 < answer.mean() < 1 else None
        return auc, float(log_loss(answer, score, labels=[0, 1]))

    def _save(self) -> None:
        began = time.perf_counter()
        self.checkpoint.save(self.model, self.optimiser, self.best, self.state, write=self.ranks.first)
        self.state.saving += time.perf_counter() - began
        self.meter.joules()  # not training's
        self.saved = time.monotonic()


def backward(model: Shared, row: Row, count: float, precision: str) -> Tensor:
    """Add a row's share of the mean loss over ``count`` targets to the gradients.

    Returns:
        that share, (), float32, on the model's device and without a graph: to read it is to wait for a GPU.
    """
    with arithmetic(model.device, precision):
        logits: Tensor = model(row)
    answers = torch.from_numpy(row.answer_K).to(model.device, logits.dtype, non_blocking=True)
    loss = F.binary_cross_entropy_with_logits(logits, answers, reduction="sum") / count
    loss.backward()
    return loss.detach()


def _ahead(executor: ThreadPoolExecutor, items: Iterator[Batch]) -> Iterator[Batch]:
    """Prepare the next item while the caller works on this one."""
    upcoming = executor.submit(next, items, None)
    while (item := upcoming.result()) is not None:
        upcoming = executor.submit(next, items, None)
        yield item
