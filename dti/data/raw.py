"""What every source's reader yields."""

from dataclasses import dataclass

from dti.data.tables import Table


@dataclass(frozen=True)
class Raw:
    """A source's tables, their values still unchecked strings.

    Attributes:
        interactions: user_id, item_id, timestamp (seconds since 1970), label or rating, optionally probability.
        items: item_id, title and further text fields.
        users: user_id and profile fields; None where the source has no profiles.
        stars: lowest and highest rating; None where the source has labels.
    """

    interactions: Table
    items: Table
    users: Table | None
    stars: tuple[float, float] | None
