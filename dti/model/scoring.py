"""Scores of prompts, pass by pass."""

from collections.abc import Callable

import numpy as np
import torch

from dti.model.ctr import CtrModel
from dti.progress import Progress
from dti.prompts.batching import rows
from dti.prompts.packing import Prompts
from dti.prompts.store import Store


def logits_of(
    model: CtrModel,
    store: Store,
    prompts: Prompts,
    tokens_per_pass: int,
    what: str,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """The logit of every target, float64, in the order of ``prompts`` and of the targets in each.

    Args:
        tokens_per_pass: content tokens of one forward pass, at most.
        what: the progress line's subject.
        stop: asked before each pass.

    Raises:
        KeyboardInterrupt: ``stop`` said so.
    """
    was_training = model.training
    model.eval()
    parts = []
    with torch.no_grad(), Progress(what, int(prompts.targets.sum()), "targets") as progress:
        for row in rows(store, prompts, tokens_per_pass, model.layout):
            if stop():
                raise KeyboardInterrupt
            parts.append(model(row).double().cpu().numpy())
            progress.advance(parts[-1].size)
    model.train(was_training)
    return np.concatenate(parts)


def probability(logits: np.ndarray) -> np.ndarray:
    """The sigmoid: the softmax over the answers (no, yes)."""
    return 1.0 / (1.0 + np.exp(-logits))


def answers_of(store: Store, prompts: Prompts) -> np.ndarray:
    """The label of every target, in the order of ``prompts`` and of the targets in each."""
    pieces = zip(prompts.shard, prompts.target_start, prompts.target_stop, strict=True)
    return np.concatenate([store.shards[s].label[low:high] for s, low, high in pieces])
