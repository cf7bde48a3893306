"""The table of rivals: our model stands beside them where it is of the same packed data."""

import pytest

from benchmarks.rivals.results import COLUMNS, table
from dti.files import write_json

DATA = {"title": "Small", "n": 20, "test_targets": 9}
OURS = {"paradigm": "stream", "k": 50, "backbone": "tiny"}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """``tables(digest, **changes)``: the table after a run of ours on packed data of this digest."""
    monkeypatch.chdir(tmp_path)
    numbers = {**dict.fromkeys(COLUMNS, 0.5), "training_hours": 0.1, "seed": 1, **DATA}
    rival = tmp_path / "DIN-seed=1.json"
    write_json(rival, {**numbers, "model": "DIN", "digest": "one"})

    def make(digest, **changes):
        write_json(tmp_path / "reports/metrics.json", {**numbers, **OURS, **changes})
        if digest:
            write_json(tmp_path / "models/adapter/dti.json", {"packed_digest": digest})
        return table([rival]).splitlines()

    return make


def test_our_model_of_the_same_packed_data_stands_beside_rivals(tables):
    assert [line.split("  ")[0] for line in tables("one")[2:]] == ["DIN", "DTI (stream, k = 50, tiny)"]


@pytest.mark.parametrize(("digest", "changes"), [("other", {}), ("one", {"n": 5}), ("one", {"test_targets": 8})])
def test_our_model_of_other_packed_data_is_left_out(tables, digest, changes):
    *_, rival, note = tables(digest, **changes)
    assert rival.startswith("DIN ")
    assert note == "Our model is left out: reports/metrics.json is of other packed data; run `dvc repro`."


def test_our_model_of_unknown_packed_data_is_left_out(tables):
    *_, rival, note = tables(None)
    assert rival.startswith("DIN ")
    assert note == "Our model is left out: no models/adapter/dti.json names the packed data of reports/metrics.json."
