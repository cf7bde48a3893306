"""`--rivals`: what `make baselines` left, beside the model."""

import pytest

from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.report.rivals import section
from dti.report.run import Run


def rival(root, name, **changes):
    metrics, pack = (read_json(root / f"reports/{report}.json") for report in ("metrics", "pack"))
    content = metrics | {"model": name, "digest": pack["digest"], "parameters": 1234, "training_hours": 0.5}
    write_json(root / f"reports/rivals/{name}.json", content | changes)


def rows(root):
    return {line[0].text: [cell.text for cell in line[1:]] for line in section(Run.read(root)).blocks[0].rows}


def test_a_rival_that_wins_is_said_to_win(one, copy_of):
    copy = copy_of(one)
    rival(copy, "DIN", auc=0.9999, auc_low=0.99, auc_high=1.0, log_loss=0.01)
    rival(copy, "DeepFM", auc=0.1, gauc=0.1, f1=0.1, ece=0.9, log_loss=9.0)
    rival(copy, "AutoInt", digest="of other data")
    found = rows(copy)
    assert list(found) == ["model", "DIN", "DeepFM"]
    assert found["DIN"][0] == "0.9999 [0.9900, 1.0000]"
    assert found["DIN"][5:] == ["0.5", "123", "1,234", "wins by AUC, log loss"]
    assert found["DeepFM"][-1] == "the model wins by all"
    assert found["model"][-2:] == ["8,000", ""]


def test_without_rivals_on_this_data_the_command_says_what_to_do(one, copy_of):
    copy = copy_of(one)
    with pytest.raises(DtiError, match="0 rivals, none on this run's packed data; run `make baselines`"):
        rows(copy)
    rival(copy, "DIN", digest="of other data")
    with pytest.raises(DtiError, match="1 rivals, none"):
        rows(copy)
