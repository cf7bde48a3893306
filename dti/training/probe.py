"""One optimiser step with a clock, and what its passes keep for the backward pass: for plans and benchmarks."""

import time

import numpy as np
import torch
from torch import Tensor

from dti.errors import DtiError
from dti.model.ctr import CtrModel
from dti.model.device import arithmetic
from dti.params import Train
from dti.prompts.batching import rows
from dti.prompts.packing import Prompts
from dti.prompts.row import Row
from dti.prompts.store import Store
from dti.training.checkpoint import trained_weights
from dti.training.trainer import backward


def timed_step(
    model: CtrModel, optimiser: torch.optim.Optimizer, store: Store, prompts: Prompts, params: Train
) -> tuple[list[Row], float]:
    """One whole step: rows built, forward, backward, gradients clipped, weights updated.

    Returns:
        the rows, and the seconds.

    Raises:
        DtiError: the gradient is not finite.
    """
    settle(model.device)
    began = time.perf_counter()
    batch = list(rows(store, prompts, params.tokens_per_pass, model.layout))
    for row in batch:
        backward(model, row, int(prompts.targets.sum()), params.precision)
    norm = float(torch.nn.utils.clip_grad_norm_(trained_weights(model).values(), params.clip))
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    settle(model.device)
    seconds = time.perf_counter() - began
    if not np.isfinite(norm):
        raise DtiError(f"a step's gradient has the norm {norm}; set train.precision fp32")
    return batch, seconds


def settle(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def kept_bytes(model: CtrModel, row: Row, precision: str) -> int:
    """Bytes of what a forward pass keeps for its backward pass, weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x), arithmetic(model.device, precision):
        logits = model(row)
    del logits
    return sum(sizes.values())
