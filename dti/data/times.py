"""How sources write the time of an interaction, and what becomes of it: whole seconds since 1970, UTC."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

LAST_SECOND = 253402300799  # the end of the year 9999
LEAST_MILLISECONDS = 10**11  # March 1973; seconds reach it in the year 5138
_MOMENTS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
_DATE = r"^(\d{4}-\d\d-\d\d)"


@dataclass(frozen=True)
class Clock:
    """A way to write times.

    Attributes:
        kind: ``whole``: whole seconds since 1970; ``seconds``: the same, with a fraction if need be;
            ``milliseconds``: since 1970; ``iso``: ISO 8601.
        zone: the time zone of ISO times that give no offset.
    """

    kind: Literal["whole", "seconds", "milliseconds", "iso"]
    zone: str = "UTC"

    @property
    def fine(self) -> bool:
        """Whether times may tell more than the second."""
        return self.kind != "whole"

    @property
    def expected(self) -> str:
        """What a value must be, for messages."""
        return {
            "whole": "whole seconds since 1970 (milliseconds are not)",
            "seconds": "seconds since 1970; for milliseconds set table.time to milliseconds",
            "milliseconds": "milliseconds since 1970, from 1973 on; for seconds set table.time to seconds",
            "iso": "an ISO 8601 time such as 2024-01-31T09:30:00+01:00 that its time zone has",
        }[self.kind]

    def microseconds(self, column: str) -> pl.Expr:
        """The column as microseconds since 1970, null where a value is no time."""
        text = pl.col(column)
        if self.kind == "iso":
            return _iso(text.str.strip_chars(), self.zone)
        whole = text.cast(pl.Int64, strict=False)
        if self.kind == "whole":
            return _between(whole, 0, LAST_SECOND) * 1_000_000
        scale = 1_000_000 if self.kind == "seconds" else 1_000
        low = 0 if self.kind == "seconds" else LEAST_MILLISECONDS
        high = (LAST_SECOND + 1) * 1_000_000 // scale - 1
        number = text.cast(pl.Float64, strict=False)
        parts = (_between(number, low, high) * scale).floor().cast(pl.Int64)
        return pl.coalesce(_between(whole, low, high) * scale, parts)


WHOLE = Clock("whole")


def _between(value: pl.Expr, low: int, high: int) -> pl.Expr:
    return pl.when(value.is_between(low, high)).then(value)


def _iso(text: pl.Expr, zone: str) -> pl.Expr:
    """ISO times with an offset as they are; others in ``zone``, the earlier one where the clock was set back."""
    text = text.str.replace(_DATE + "[ t]", "${1}T")
    offsets = [text.str.to_datetime(f"{form}%#z", time_unit="us", time_zone="UTC", strict=False) for form in _MOMENTS]
    forms = [text.str.to_datetime(form, time_unit="us", strict=False) for form in _MOMENTS]
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    local = pl.coalesce(*forms, day).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return pl.coalesce(pl.coalesce(*offsets).dt.epoch("us"), local.dt.epoch("us"))
