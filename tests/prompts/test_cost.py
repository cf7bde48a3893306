"""The cost model against known ratios and against counted tokens."""

import pytest

from dti.prompts.build import content_tokens
from dti.prompts.cost import predict, ratio_limit, sliding_tokens, stream_tokens, unique_tokens
from dti.prompts.packing import serving_prompts, stream_prompts


@pytest.mark.parametrize(("k", "ratio"), [(1, 1), (5, 4.2), (10, 7), (20, 10.5), (50, 15), (100, 17.5), ("all", 21)])
def test_the_limits_for_a_context_of_20(k, ratio):
    assert ratio_limit(20, k) == pytest.approx(ratio, abs=0.01)


def test_the_formulas():
    assert sliding_tokens(20, 16) == 336
    assert stream_tokens(20, 50, 16) == 70 * 16 / 50 + 1
    assert stream_tokens(20, "all", 16) == 17
    assert unique_tokens(400, 16, 2, 1000) == pytest.approx(0.4 * 17 + 1)
    assert predict(20, 1, 16).ratio == 1


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_prediction_equals_the_count_where_no_history_is_short(make_store, k):
    length, n = 10, 4
    splits = [["context"] * n + ["train"] * length]
    store = make_store([[(0, 1)] * (n + length)], ["Heat"], splits=splits, n=n, k=k)
    c = float(store.text_lengths[0] + 1)
    counted = (content_tokens(store, stream_prompts(store, "train", k)).sum() + length) / length
    label_saved = 1 / k if k > 1 else 0  # of each prompt's last interaction; the sliding formula has it in already
    assert predict(n, k, c).this_k == pytest.approx(counted + label_saved)
    sliding = (content_tokens(store, serving_prompts(store, "train")).sum() + length) / length
    assert predict(n, k, c).sliding == pytest.approx(sliding)
