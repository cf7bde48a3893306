"""Which deployments `make up` offers, and which of them share slots."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Deployments that one process serves.

    Attributes:
        slots: how many of their runs go on at a time, the others queue; None: no run waits.
        entrypoints: where each flow is, by its name.
        inner: flows that run inside these, without a deployment of their own.
    """

    slots: int | None
    entrypoints: dict[str, str]
    inner: tuple[str, ...] = ()

    @property
    def flows(self) -> tuple[str, ...]:
        """The names of all flows whose runs end with this group's process."""
        return (*self.entrypoints, *self.inner)


GROUPS = {
    # One GPU, one training.
    "training": Group(1, {"train": "flows/train.py:train", "sweep": "flows/sweep.py:sweep"}, inner=("cell",)),
    # One decision on aliases after the other; none waits for a training.
    "release": Group(1, {"promote": "flows/promote.py:promote", "rollback": "flows/rollback.py:rollback"}),
    "others": Group(None, {"apply": "flows/apply.py:apply"}),
}
