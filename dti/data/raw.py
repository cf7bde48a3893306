"""What every source's reader yields."""

from dataclasses import dataclass

from dti.data.tables import Table
from dti.data.times import WHOLE, Clock


@dataclass(frozen=True)
class Check:
    """How often something was found, and what was done about it."""

    check: str
    count: int
    rule: str


@dataclass(frozen=True)
class Raw:
    """A source's tables, their values still unchecked strings.

    Attributes:
        interactions: user_id, item_id, timestamp, label or rating, optionally probability.
        items: item_id and text fields; a field ``title`` gets a value where it is empty.
        users: user_id and profile fields; None where the source has no profiles.
        stars: lowest and highest rating, infinite where the source sets no bound; None where the source has labels.
        clock: how timestamps are written.
        checks: what the reader itself found and repaired.
    """

    interactions: Table
    items: Table
    users: Table | None
    stars: tuple[float, float] | None
    clock: Clock = WHOLE
    checks: tuple[Check, ...] = ()
