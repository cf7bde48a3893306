"""The processes that train one model together: who this one is, and what it agrees upon with the others.

Every function that talks to the others must be called by all of them, in the same order. One process talks to nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, distribute_tensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process's number among ``count``, and the device that their messages pass through."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    def sum(self, numbers: Tensor) -> Tensor:
        """Sums over all processes, number by number, on the CPU."""
        if self.alone:
            return numbers
        summed = numbers.to(self.device)
        distributed.all_reduce(summed)
        return summed.cpu()

    def any(self, *flags: bool) -> list[bool]:
        """For each flag whether any process has set it."""
        if self.alone:
            return list(flags)
        counts: Sequence[float] = self.sum(torch.tensor(flags, dtype=torch.float32)).tolist()
        return [count > 0 for count in counts]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(True)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that processes hold in parts; another as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def in_parts_of(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, on the device and in the parts that ``like`` is held in."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    # Every process has read the same file: nothing need be sent.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
