import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from dti.data.histories import histories, read_interactions
from dti.data.tables import EXTRA, ROW, Table

Row = tuple[str, str, int]
rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz"), st.integers(0, 6)), min_size=1, max_size=30)


def table(given_rows: list[Row]) -> Table:
    texts = [(user, item, "1", str(time), None, place) for place, (user, item, time) in enumerate(given_rows, 2)]
    schema = dict.fromkeys(("user_id", "item_id", "label", "timestamp", EXTRA), pl.String) | {ROW: pl.UInt32}
    return Table("clicks.csv", pl.DataFrame(texts, schema=schema, orient="row").lazy())


def slow_histories(given_rows: list[Row]) -> list[tuple[str, str, int, int]]:
    last = {row: place for place, row in enumerate(given_rows)}
    ordered = sorted(last, key=lambda row: (row[0], row[2], last[row]))
    return [(user, item, time, [r[0] for r in ordered[:i]].count(user)) for i, (user, item, time) in enumerate(ordered)]


@given(rows)
def test_histories_equal_slow_ones(given_rows: list[Row]):
    frame, _ = read_interactions(table(given_rows), pl.Series(list("wxyz")), 3)
    made, checks = histories(frame)
    assert made.select("user_id", "item_id", "timestamp", "order").rows() == slow_histories(given_rows)
    counts = {check.check.split(" (")[0]: check.count for check in checks}
    assert counts["duplicate interactions"] == len(given_rows) - len(set(given_rows))
    assert counts["repeated interactions"] == len(set(given_rows)) - len({row[:2] for row in given_rows})
