import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dti.data.split import split
from dti.data.tables import ROW
from dti.errors import DtiError

Times = list[list[int]]  # per user, ascending


def frame_of(times: Times) -> pl.DataFrame:
    """Histories whose rows lie mixed in the file, so that the frame's own order does not decide ties."""
    rows = [(user, order, time) for user, history in enumerate(times) for order, time in enumerate(sorted(history))]
    numbered = [(*row, 2 + 3 * row[0] + 100 * row[1]) for row in rows]
    return pl.DataFrame(numbered, schema=["user_id", "order", "timestamp", ROW], orient="row")


def slow_split(frame: pl.DataFrame, min_context: int) -> list[str]:
    rows = list(frame.iter_rows(named=True))
    targets = sorted((row["timestamp"], row[ROW]) for row in rows if row["order"] >= min_context)
    train = int(len(targets) * 8 / 10)
    valid = train + len(targets) // 10
    names = {key: "train" if i < train else "valid" if i < valid else "test" for i, key in enumerate(targets)}
    return [names.get((row["timestamp"], row[ROW]), "context") for row in rows]


@given(st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=1, max_size=12), st.integers(0, 3))
def test_split_equals_a_slow_one(times: Times, min_context: int):
    frame = frame_of(times)
    expected = slow_split(frame, min_context)
    targets = sum(name != "context" for name in expected)
    if targets < 10:
        with pytest.raises(DtiError, match=r"data\.min_context"):
            split(frame, min_context, True)
        return
    assert split(frame, min_context, True)["split"].to_list() == expected


def test_ten_targets_are_eight_one_one():
    found = split(frame_of([list(range(11))]), 1, True)["split"].to_list()
    assert found == ["context", *["train"] * 8, "valid", "test"]


def test_ties_go_by_file_order():
    frame = frame_of([[5], [5], [5], [5], [5], [5], [5], [5], [5], [5]]).sample(fraction=1.0, shuffle=True, seed=1)
    by_row = split(frame, 0, True).sort(ROW)["split"].to_list()
    assert by_row == [*["train"] * 8, "valid", "test"]


def test_final_fit_trains_on_every_target():
    found = split(frame_of([[1, 2, 3], [1, 2]]), 1, False)["split"].to_list()
    assert found == ["context", "train", "train", "context", "train"]


def test_no_target_at_all():
    with pytest.raises(DtiError, match="only 0 of 2 interactions have 5 earlier ones"):
        split(frame_of([[1, 2]]), 5, False)
