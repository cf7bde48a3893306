import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dti.errors import DtiError
from dti.evaluation import metrics as m
from dti.evaluation.baselines import Baselines, baselines
from dti.evaluation.history import COLUMNS, read_history
from dti.evaluation.plots import ROC_POINTS, roc_points, write_plots
from dti.evaluation.report import assemble_metrics
from dti.evaluation.table import result_table

FORMATS = Path(__file__).resolve().parents[2] / "docs/formats.md"
HISTORY = ",".join(COLUMNS) + "\n1,80,1234567,0.01,0.6,0.7,0.61\n2,160,2469134,0.02,0.5,,\n"


def scored(seed: int, with_truth: bool) -> m.ScoredSplit:
    rng = np.random.default_rng(seed)
    truth = rng.random(2000)
    index = rng.integers(0, 50, 2000).astype(np.int32)
    score = np.clip(truth + rng.normal(0, 0.2, 2000), 0.01, 0.99)
    label = (rng.random(2000) < truth).astype(np.int8)
    known = truth.astype(np.float32) if with_truth else None
    return m.ScoredSplit(index, index, label, score, np.arange(2000), np.arange(2000) % 2 == 0, known)


def beside(split: m.ScoredSplit | None) -> dict[str, Baselines]:
    empty = np.empty(0)
    rows = Baselines(split.label, 1 - split.score, split.score) if split else Baselines(empty, empty, empty)
    return {"valid": rows, "test": rows}


def assembled(valid: m.ScoredSplit | None, test: m.ScoredSplit | None) -> dict[str, object]:
    return assemble_metrics(
        valid=valid,
        test=test,
        baselines=beside(test),
        train={
            "backbone": "tiny",
            "backbone_weights": "float32",
            "epochs": 2,
            "train_targets": 80000,
            "train_tokens": 10**6,
            "training_hours": 0.02,
            "targets_per_second": 1111.1,
        },
        data={"dataset": "demo", "title": "Demo (generated)", "official": True, "users": 2000},
        meta={"k": 50, "digest": "x"},
        adapter={"policy": "isolated", "n": 20},
        seed=3,
        bootstrap=50,
        scored_on="stream" if test else None,
    )


def promised_keys() -> set[str]:
    """The keys that docs/formats.md promises for metrics.json, notes in brackets left out."""
    section = FORMATS.read_text().split("## reports/metrics.json")[1].split("Keys: ")[1].split(". With")[0]
    while "(" in section:
        section = section[: section.index("(")] + section[section.index(")") + 1 :]
    return {word.strip() for word in section.replace("and for demo", "").replace("\n", " ").split(",")}


def test_metrics_have_the_promised_keys_and_fit_into_json() -> None:
    found = assembled(scored(1, True), scored(2, True))
    assert set(found) == promised_keys()
    assert "oracle_auc" not in assembled(scored(1, False), scored(2, False))
    json.dumps(found, allow_nan=False)


def test_metrics_are_those_of_the_given_splits() -> None:
    valid, test = scored(1, True), scored(2, True)
    found = assembled(valid, test)
    assert test.probability is not None
    assert found["auc"] == found["lr_auc"] == m.auc(test.label, test.score)
    assert found["popularity_auc"] == pytest.approx(1 - m.auc(test.label, test.score))
    assert (found["auc_low"], found["auc_high"]) == m.auc_interval(test.label, test.score, test.user, 50, 3)
    assert found["auc_strict"] == m.auc(test.label[::2], test.score[::2])
    assert found["valid_auc"] == m.auc(valid.label, valid.score)
    assert found["f1_threshold"] == m.best_f1_threshold(valid.label, valid.score)
    assert found["oracle_auc"] == m.auc(test.label, test.probability)
    assert (found["paradigm"], found["test_targets"]) == ("stream", 2000)


def test_without_splits_their_metrics_are_null() -> None:
    found = assembled(None, None)
    assert {"oracle_auc"} | set(found) == promised_keys()
    none = {name for name, value in found.items() if value is None}
    assert {"auc", "auc_low", "gauc", "f1", "valid_auc", "popularity_auc", "lr_log_loss", "scored_on"} <= none
    assert (found["test_targets"], found["train_targets"]) == (0, 80000)
    assert "model                -" in result_table(found)


def test_a_test_split_of_one_label_is_reported_too() -> None:
    valid, test = scored(1, False), scored(2, False)
    found = assembled(valid, replace(test, label=np.zeros_like(test.label)))
    assert (found["auc"], found["f1"]) == (None, None)
    assert found["log_loss"] is not None
    json.dumps(found, allow_nan=False)
    result_table(found)


def test_the_table_is_aligned_and_says_where_the_run_is() -> None:
    found = assembled(scored(1, True), scored(2, True))
    lines = result_table(found, "MLflow run  abc").splitlines()
    assert lines[0] == "Demo (generated): stream, k = 50, n = 20, isolated, seed 3"
    head, model, popularity, regression, oracle = lines[2:7]
    assert model.startswith("model ")
    assert [line.split()[0] for line in (popularity, regression, oracle)] == ["popularity", "logistic", "oracle"]
    at = head.index("log loss")
    assert model[at - 1] == popularity[at - 1] == " "
    assert model[at:].split() == [f"{found[name]:.4f}" for name in ("log_loss", "gauc", "f1", "ece")]
    assert f"[{found['auc_low']:.4f}, {found['auc_high']:.4f}]" in model
    text = "\n".join(lines)
    assert "0:01:12 (0.0200 h)" in text
    assert "80,000 x 2 epochs (1,111 targets/s)" in text
    assert "streams, equal to serving prompts" in text
    assert lines[-1] == "MLflow run  abc"


def test_the_models_line_says_how_its_backbone_was_quantised() -> None:
    found = assembled(scored(1, True), scored(2, True))
    table = result_table(found | {"backbone_weights": "GGUF Q4_1, dequantised to float32"})
    assert "\nmodel (GGUF Q4_1, dequantised to float32)  0." in table
    assert "GGUF" not in result_table(found)


def test_plots_are_small_files_that_repeat_bit_by_bit(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text(HISTORY)
    test = scored(2, True)
    for folder in ("one", "two"):
        write_plots(test, beside(test)["test"], history, tmp_path / folder)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    names = {f"{name}.{kind}" for name in ("roc", "reliability", "learning_curve") for kind in ("csv", "png")}
    assert set(files) == names
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert all(data.startswith(b"\x89PNG") for name, data in files.items() if name.endswith("png"))
    assert files["learning_curve.csv"].decode() == HISTORY
    roc = files["roc.csv"].decode().splitlines()
    assert (roc[0], roc[1], roc[-1]) == ("fpr,tpr", "0,0", "1,1")
    assert files["reliability.csv"].decode().startswith("score,rate,targets\n")


def test_plots_without_a_test_split_are_empty(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text(HISTORY)
    write_plots(None, beside(None)["test"], history, tmp_path)
    assert (tmp_path / "roc.csv").read_text() == "fpr,tpr\n"
    assert (tmp_path / "reliability.csv").read_text() == "score,rate,targets\n"


def test_a_thinned_roc_keeps_its_ends_and_its_area() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(50_000)
    label = (rng.random(50_000) < score).astype(np.int8)
    false, true = roc_points(label, score)
    assert false.size <= ROC_POINTS
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(m.auc(label, score), abs=1e-4)


@pytest.mark.parametrize("text", ["epoch,step\n1,2\n", HISTORY.replace("0.6,", "high,")])
def test_a_malformed_history_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(DtiError, match=r"history\.csv: no learning curve"):
        read_history(path)
    with pytest.raises(DtiError, match=r"absent\.csv: not found"):
        read_history(tmp_path / "absent.csv")


def test_baselines_of_a_store_feed_the_report() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(100, dtype=np.int32), 10)
    split = np.tile(np.array([0] * 3 + [1] * 4 + [2, 3, 3], np.int8), 100)
    found = baselines(user, rng.integers(0, 9, 1000).astype(np.int32), rng.integers(0, 2, 1000).astype(np.int8), split)
    assert found["test"].label.size == 200
    assert m.log_loss(found["test"].label, found["test"].regression) == pytest.approx(np.log(2), abs=0.1)
