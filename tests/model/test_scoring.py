"""Parity is measured, and decides what the scores of record are taken on."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from dti.evaluation.parity import measure_parity, parity_table
from dti.evaluation.scoring import score_split, write_scores
from dti.model.scoring import answers_of, logits_of, probability
from dti.prompts import batching
from dti.prompts.packing import recut, serving_prompts, stream_prompts
from dti.prompts.unique import build_unique


@pytest.fixture(scope="module")
def held_out(make_store):
    """Thirty users of 20 interactions, the last eight test targets."""
    rng = np.random.default_rng(3)
    texts = [f"{colour} {thing}" for colour in ("red", "blue", "old") for thing in ("lamp", "chair", "bed")]
    histories = [[(int(rng.integers(9)), int(rng.integers(2))) for _ in range(20)] for _ in range(30)]
    return make_store(histories, texts, splits=[["train"] * 12 + ["test"] * 8] * 30, n=3, k=7)


def test_an_isolated_model_has_parity_at_every_k(ctr_model, held_out):
    parity = measure_parity(ctr_model(layers=3), held_out, 100, 10_000)
    assert list(parity.gaps) == [5, 7, 50, "all"]
    assert parity.targets >= 100
    assert parity.holds
    assert all(gap.max <= 1e-5 and gap.auc_stream == gap.auc_serving for gap in parity.gaps.values())


def test_a_window_model_has_a_gap_that_grows_with_k(ctr_model, held_out):
    parity = measure_parity(ctr_model(layers=3, policy="window", context="all"), held_out, 100, 10_000)
    assert not parity.holds
    assert 0 < parity.gaps[5].mean < parity.gaps["all"].mean
    table = parity_table(parity.report())
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["5", "7", "50", "all"]


def test_the_report_says_what_the_logits_say(ctr_model, held_out):
    model = ctr_model(layers=3, policy="window", context="all")
    report = measure_parity(model, held_out, 10_000, 10_000).report()
    assert (report["split"], report["targets"]) == ("test", 240)
    streams = stream_prompts(held_out, "test", "all")
    served = logits_of(model, held_out, recut(held_out, streams, 1), 10_000, "serving")
    label = answers_of(held_out, streams)
    for k in (5, 7, 50, "all"):
        found = logits_of(model, held_out, recut(held_out, streams, k), 10_000, "stream")
        gap = np.abs(found - served)
        expected = {"mean": gap.mean(), "p99": np.quantile(gap, 0.99), "max": gap.max()}
        expected |= {"auc_stream": roc_auc_score(label, found), "auc_serving": roc_auc_score(label, served)}
        assert report["k"][str(k)] == pytest.approx(expected, rel=1e-4)
        assert report["max_abs_logit_gap"][str(k)] == report["k"][str(k)]["max"]
    lines = [line.split() for line in parity_table(report).splitlines()[2:]]
    assert [float(line[-1]) for line in lines] == [
        pytest.approx(gap["auc_stream"] - gap["auc_serving"], abs=6e-5) for gap in report["k"].values()
    ]


def test_the_unique_layout_is_compared_with_prompts_that_share_nothing(ctr_model, held_out, monkeypatch):
    model = ctr_model(layers=2)
    model.layout = "unique"
    assert measure_parity(model, held_out, 100, 10_000).holds
    assert model.layout == "unique"

    def wrong(store, prompts):
        row = build_unique(store, prompts)
        return replace(row, tokens_S=np.where(row.tokens_S == row.tokens_S[0], row.tokens_S[-2], row.tokens_S))

    monkeypatch.setattr(batching, "build_unique", wrong)
    assert not measure_parity(model, held_out, 100, 10_000).holds


@pytest.mark.parametrize(("policy", "expected"), [("isolated", "stream"), ("window", "serving")])
def test_scores_of_record_are_those_of_serving_prompts(ctr_model, held_out, policy, expected, tmp_path):
    model = ctr_model(policy=policy, context="all")
    parity = measure_parity(model, held_out, 100, 10_000)
    scored, scored_on = score_split(model, held_out, "test", parity, 10_000)
    assert scored_on == expected
    serving = probability(logits_of(model, held_out, serving_prompts(held_out, "test"), 10_000, "serving"))
    np.testing.assert_allclose(scored.score, serving, atol=1e-5)
    write_scores(tmp_path / "test.parquet", held_out, scored)
    table = pq.read_table(tmp_path / "test.parquet")
    assert table.column_names == ["user_id", "item_id", "timestamp", "label", "score"]
    assert table["user_id"].to_pylist()[:9] == ["u0000"] * 8 + ["u0001"]
    np.testing.assert_array_equal(table["score"], scored.score)


def test_a_split_without_targets_has_no_scores(ctr_model, held_out, tmp_path):
    model = ctr_model()
    parity = measure_parity(model, held_out, 100, 10_000)
    assert score_split(model, held_out, "valid", parity, 10_000) == (None, None)
    write_scores(tmp_path / "valid.parquet", held_out, None)
    assert pq.read_table(tmp_path / "valid.parquet").num_rows == 0


def test_strict_targets_are_later_than_their_predecessor(ctr_model, make_store):
    splits = [["train", "test", "test"]] * 2
    store = make_store([[(0, 1), (1, 0), (0, 1)]] * 2, ["a", "b"], splits=splits, n=3)
    store.shards[0] = replace(store.shards[0], timestamp=np.array([5, 6, 6, 7, 7, 8]))
    model = ctr_model()
    scored, _ = score_split(model, store, "test", measure_parity(model, store, 100, 10_000), 10_000)
    assert scored.strict.tolist() == [True, False, False, True]
