"""Checkpoints: one safetensors file, so that each is there whole or not at all, and no pickle is ever read."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dti.errors import DtiError
from dti.files import atomic_file, locked
from dti.training.ranks import in_parts_of, whole

Named = dict[str, Tensor]


@dataclass
class State:
    """Where a run stands; everything that is no tensor.

    Attributes:
        epoch, step: finished epochs, and finished steps of the one under way.
        targets, tokens: trained so far, context and probe tokens counted.
        loss: summed over the targets of the epoch under way.
        wait, compute, validation, saving: seconds spent so far.
        joules: taken in the epochs, validation and checkpoints left out; 0 where nothing tells.
        history: a row per finished epoch; see docs/formats.md.
        resumed: how often the run was taken up again.
    """

    epoch: int = 0
    step: int = 0
    targets: int = 0
    tokens: int = 0
    loss: float = 0.0
    wait: float = 0.0
    compute: float = 0.0
    validation: float = 0.0
    saving: float = 0.0
    joules: float = 0.0
    history: list[dict[str, float | None]] = field(default_factory=list)
    resumed: int = 0

    @property
    def hours(self) -> float:
        """Hours of training proper: waiting for data and computing."""
        return (self.wait + self.compute) / 3600


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class Checkpoint:
    """The checkpoint of one run: weights, optimiser, the best weights so far, and the state.

    Args:
        folder: named after the run's key; removed on success.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "last.safetensors"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            DtiError: another process trains the same run now.
        """
        with locked(self.folder / "lock") as mine:
            if mine is None:
                raise DtiError(
                    f"{self.folder}: another process trains with the same data, parameters and code; wait for it"
                )
            yield

    def save(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, best: Named, state: State, write: bool = True
    ) -> None:
        """Write everything, atomically over the last one.

        Args:
            write: False in all but one of several processes, which only lend their parts of the tensors.
        """
        tensors: Named = {}
        for name, weight in trained_weights(model).items():
            tensors[f"weight/{name}"] = weight.detach()
            for key, value in optimiser.state[weight].items():
                tensors[f"{key}/{name}"] = value
        tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
        copies: Named = {}
        for name, tensor in tensors.items():
            gathered = whole(tensor.detach())
            if write:
                copies[name] = gathered.cpu().contiguous().clone()
        if not write:
            return
        with atomic_file(self.file) as partial:
            save_file(copies, partial, metadata={"state": json.dumps(asdict(state))})

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[State, Named]:
        """Load the last checkpoint into model and optimiser; a fresh state and no best weights where there is none."""
        if not self.file.is_file():
            return State(), {}
        best: Named = {}
        weights = trained_weights(model)
        with safe_open(self.file, framework="pt") as handle, torch.no_grad():
            state = State(**json.loads(handle.metadata()["state"]))
            for full in handle.keys():  # noqa: SIM118 - safe_open is no mapping
                kind, name = full.split("/", 1)
                tensor, weight = handle.get_tensor(full), weights[name]
                if kind == "step":  # AdamW counts them on the CPU, but with "fused" beside the weight
                    optimiser.state[weight][kind] = tensor.to(weight.device)
                    continue
                part = in_parts_of(tensor, weight)
                if kind == "weight":
                    weight.copy_(part)
                elif kind == "best":
                    best[name] = part
                else:
                    optimiser.state[weight][kind] = part
        state.resumed += 1
        return state, best

    def remove(self) -> None:
        """Forget the run: it has ended well."""
        shutil.rmtree(self.folder, ignore_errors=True)
