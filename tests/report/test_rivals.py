"""`--rivals`: what `make baselines` left, beside the model."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.report.comparing import Bootstrap
from dti.report.rivals import COLUMNS, section
from dti.report.run import Run

DRAW = Bootstrap(100, 1)
GAP = COLUMNS.index("model's AUC minus its AUC [95 %]") - 1


def rival(root, name, score=None, **changes):
    """A rival's result; with ``score`` (a function of the labels) its scores, too."""
    metrics, pack = (read_json(root / f"reports/{report}.json") for report in ("metrics", "pack"))
    content = metrics | {"model": name, "digest": pack["digest"], "parameters": 1234, "training_hours": 0.5}
    write_json(root / f"reports/rivals/{name}.json", content | changes)
    if score is not None:
        table = pq.read_table(root / "data/scores/test.parquet")
        scores = pa.array(score(table["label"].to_numpy().astype(float)))
        changed = table.set_column(table.column_names.index("score"), "score", scores)
        pq.write_table(changed, root / f"reports/rivals/{name}.parquet")


def rows(root):
    found = section(Run.read(root), DRAW).blocks[0]
    assert {len(line) for line in found.rows} == {len(found.head)}
    return {line[0].text: [cell.text for cell in line[1:]] for line in found.rows}


def test_a_rival_that_is_better_by_the_numbers_is_said_to_be(one, copy_of):
    copy = copy_of(one)
    rival(copy, "DIN", auc=0.9999, auc_low=0.99, auc_high=1.0, log_loss=0.01)
    rival(copy, "DeepFM", auc=0.1, gauc=0.1, f1=0.1, ece=0.9, log_loss=9.0)
    rival(copy, "AutoInt", digest="of other data")
    found = rows(copy)
    assert list(found) == ["model", "DIN, seed 1", "DeepFM, seed 1"]
    din = found["DIN, seed 1"]
    assert din[0] == "0.9999 [0.9900, 1.0000]"
    assert din[5:] == ["0.5", "123", "1,234", "-", "better by the number: AUC, log loss"]
    assert found["DeepFM, seed 1"][-1] == "the model is better by all"
    assert found["model"][-3:] == ["8,000", "", ""]


def test_with_its_scores_the_difference_decides(one, copy_of):
    copy = copy_of(one)
    rival(copy, "DIN", score=lambda label: 0.2 + 0.6 * label, auc=1.0)
    rival(copy, "DeepFM", score=lambda label: 0.8 - 0.6 * label, auc=0.0)
    found = rows(copy)
    assert found["DIN, seed 1"][GAP].startswith("-0.")
    assert found["DIN, seed 1"][-1].startswith("by AUC: DIN wins; better by the number: AUC")
    assert found["DeepFM, seed 1"][-1].startswith("by AUC: the model wins")


def test_scores_of_other_targets_are_refused(one, copy_of):
    copy = copy_of(one)
    rival(copy, "DIN", score=lambda label: label)
    path = copy / "reports/rivals/DIN.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(DtiError, match="DIN.parquet: scores of other targets"):
        rows(copy)


def test_without_rivals_on_this_data_the_command_says_what_to_do(one, copy_of):
    copy = copy_of(one)
    with pytest.raises(DtiError, match="0 rivals, none on this run's packed data; run `make baselines`"):
        rows(copy)
    rival(copy, "DIN", digest="of other data")
    with pytest.raises(DtiError, match="1 rivals, none"):
        rows(copy)
