"""Files as lazy frames of strings, rules for their values, and refusals that name file, row and column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from dti.errors import DtiError

ROW = "number of the row"  # in its file; a CSV header is row 1. Files will hardly have a column of this name
EXTRA = "fields beyond the header"


@dataclass(frozen=True)
class Table:
    """A file's columns, all strings (null = empty), and the row number of each row.

    Attributes:
        name: what messages say.
        called: what the file calls a column that has another name here.
    """

    name: str
    frame: pl.LazyFrame
    called: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The file's own columns."""
        return [name for name in self.frame.collect_schema().names() if name not in (ROW, EXTRA)]


@dataclass(frozen=True)
class Rule:
    """What every value of a column must be; ``bad`` is true where it is not."""

    column: str
    bad: pl.Expr
    expected: str


def present(column: str) -> Rule:
    """The column holds a value in every row."""
    return Rule(column, pl.col(column).is_null(), "a value")


def one_of(column: str, values: Sequence[str]) -> Rule:
    """The column holds one of these values."""
    return Rule(column, ~pl.col(column).is_in(values).fill_null(False), f"one of {', '.join(values)}")


def number(column: str, kind: type[pl.DataType], low: float, high: float, expected: str) -> Rule:
    """The column holds finite numbers of this kind from ``low`` to ``high``."""
    value = pl.col(column).cast(kind, strict=False)
    fits = value.is_between(low, high) & value.is_finite()
    return Rule(column, ~fits.fill_null(False), expected)


def distinct(column: str) -> Rule:
    """No value of the column stands in two rows; the second one is the bad one."""
    return Rule(column, ~pl.col(column).is_first_distinct(), "an id that no earlier row has")


@dataclass(frozen=True)
class Offence:
    """A value that breaks a rule."""

    table: Table
    row: int
    value: str | None
    rule: Rule

    def __str__(self) -> str:
        column = self.table.called.get(self.rule.column, self.rule.column)
        value = "empty" if self.value is None else repr(self.value)
        return f"{self.table.name}, row {self.row}, column {column}: {value}, but must be {self.rule.expected}"


def offences(table: Table, rules: Iterable[Rule], most: int) -> list[Offence]:
    """The first ``most`` values that break a rule, by row."""
    checked = [Rule(EXTRA, pl.col(EXTRA).is_not_null(), "no more fields than the header has"), *rules]
    firsts = [
        pl.col(ROW).filter(rule.bad).bottom_k(most).implode().alias(str(place)) for place, rule in enumerate(checked)
    ]
    found = table.frame.select(firsts).collect(engine="streaming").row(0)
    broken = sorted((row, place) for place, rows in enumerate(found) for row in rows)[:most]
    if not broken:
        return []
    columns = [ROW, *dict.fromkeys(checked[place].column for _, place in broken)]
    wanted = pl.col(ROW).is_in([row for row, _ in broken])
    rows = (
        table.frame.filter(wanted).select(columns).collect(engine="streaming").rows_by_key(ROW, named=True, unique=True)
    )
    return [Offence(table, row, rows[row][checked[place].column], checked[place]) for row, place in broken]


def refuse(table: Table, rules: Iterable[Rule]) -> None:
    """Stop at the first row that breaks a rule.

    Raises:
        DtiError: names file, row, column and value.
    """
    for offence in offences(table, rules, 1):
        raise DtiError(f"{offence}; correct or remove the row")
