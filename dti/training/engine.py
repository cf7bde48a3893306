"""How processes share a model: each has all of it (DDP), or a part of every weight (FSDP2).

Both are torch's own. Gradients are summed over processes in the backward pass of a step's last row, so that each step
begins with the same weights everywhere.
"""

from contextlib import AbstractContextManager, nullcontext

from torch.distributed import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from dti.model.ctr import CtrModel
from dti.training.ranks import Ranks

Shared = CtrModel | DistributedDataParallel


class Engine:
    """A model as one of several processes trains it.

    Args:
        model: on this process's device; for ``fsdp`` it may still be on the CPU. It is changed in place.
        kind: ``single``, ``ddp`` or ``fsdp``.
        ranks: who this process is.

    Attributes:
        module: what forward passes of training go through.
    """

    def __init__(self, model: CtrModel, kind: str, ranks: Ranks) -> None:
        self.ranks = ranks
        self.module: Shared = model
        if kind == "fsdp":
            shard(model, ranks)
        if kind == "ddp":
            devices = [ranks.device] if ranks.device.type == "cuda" else None
            self.module = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def gathering(self, last: bool) -> AbstractContextManager[object]:
        """The context of a row's forward and backward pass: gradients are exchanged behind the last row alone."""
        if isinstance(self.module, DistributedDataParallel):
            return nullcontext() if last else self.module.no_sync()
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(last)
        return nullcontext()

    def part(self) -> None:
        """Behind forward passes without backward ones: FSDP's weights are parts again, as the optimiser knows them."""
        if isinstance(self.module, FSDPModule):
            self.module.reshard()


def shard(model: CtrModel, ranks: Ranks) -> None:
    """Split every weight over the processes: each layer is gathered when it computes, the rest for the whole pass."""
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    # It would round the rotation tables that attention gets as arguments.
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in model.stock.get_decoder().layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
