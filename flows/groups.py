"""Which deployments `make up` offers, and which of them share slots."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Deployments that one process serves.

    Attributes:
        slots: how many of their runs go on at a time, the others queue; None: no run waits.
        entrypoints: where each flow is, by its name.
    """

    slots: int | None
    entrypoints: dict[str, str]


GROUPS = {
    # One GPU, one training.
    "training": Group(1, {"train": "flows/train.py:train", "sweep": "flows/sweep.py:sweep"}),
    # One decision on aliases after the other; none waits for a training.
    "release": Group(1, {"promote": "flows/promote.py:promote", "rollback": "flows/rollback.py:rollback"}),
    "others": Group(None, {"apply": "flows/apply.py:apply"}),
}
