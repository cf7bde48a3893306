"""The benchmark's FLOPs, its synthetic store, and the form of its results; no speed is asserted."""

import json
import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from benchmarks import outcome, paradigms, rows
from benchmarks.workloads import content_per_interaction, model_of, one_user, shard_of, synthetic_store
from dti.attention.masks import content_mask_of, listing_of
from dti.attention.visibility import Sight, view_of
from dti.errors import DtiError
from dti.files import read_json
from dti.home import ROOT
from dti.model.device import device_of
from dti.prompts.build import build_row, interactions_of
from dti.prompts.packing import stream_prompts
from dti.prompts.unique import build_unique
from dti.training import flops
from dti.training.flops import Shape, Work

N, TEXT = 5, 3


@pytest.fixture
def row():
    """``row(k, layout)``: one prompt of k targets with n = 5 contexts; all texts have three tokens."""

    def make(k, layout):
        store = synthetic_store(N, users=1, items=4)
        items, labels = np.arange(N + k) % 4, np.arange(N + k) % 3 == 0
        shard = shard_of(items, labels.astype(int), [N + k], store.meta.tokens)
        texts = {"item_tokens": np.arange(4 * TEXT, dtype=np.int32) + 5, "item_offsets": np.arange(5) * TEXT}
        store = replace(store, shards=[shard], **texts)
        prompts = stream_prompts(store, "train", k)
        assert len(prompts) == 1
        return build_row(store, prompts) if layout == "stream" else build_unique(store, prompts)

    return make


@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("way", ["window", "isolated", "unique", "frozen"])
def test_closed_form_equals_counted_pairs_and_masks(row, way, k, context):
    built = row(k, "unique" if way in ("unique", "frozen") else "stream")
    policy = "window" if way == "window" else "isolated"
    sight = Sight(policy, "local", context, N, content="frozen" if way == "frozen" else "trained")
    view = view_of(built, sight)
    dense = int(listing_of(view).readable_KL.sum())
    if way != "frozen":
        dense += int(content_mask_of(view).sum())
    work = flops.counted(built, sight)
    assert work.pairs == dense
    if way in ("window", "isolated"):
        formula = getattr(flops, way)(N, k, TEXT + 1, context)
    elif way == "frozen":
        formula = flops.frozen(N, TEXT + 1, context)
    else:
        texts = built.start_E.size
        labels = (built.tokens_S.size - texts * TEXT) / texts
        formula = flops.unique(N, TEXT + 1, context, texts / k, labels)
    assert (formula.tokens * k, formula.pairs * k) == pytest.approx((work.tokens, work.pairs))
    assert work.kept_pairs == formula.kept_pairs * k == (dense - k if way == "frozen" else 0)


@pytest.mark.parametrize("way", [flops.window, flops.isolated])
def test_whole_histories_are_the_limit_of_long_prompts(way):
    far, limit = way(20, 10**7, 16, "all"), way(20, "all", 16, "all")
    assert (far.tokens, far.pairs) == pytest.approx((limit.tokens, limit.pairs), rel=1e-4)


def test_a_shape_counts_the_matrices_of_its_model():
    shape = Shape(2, 24, 4, 2, 40)
    layers = model_of(shape, synthetic_store(3, users=1, items=30), device_of("cpu")).get_decoder().layers
    assert shape.weights == sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    probes, content = Work(probes=2, probe_pairs=3), Work(content=2, content_pairs=3)
    assert probes.flops(shape, "full") == 12 * shape.weights + 12 * 3 * 2 * 24
    assert probes.flops(shape, "full") - probes.flops(shape, "lora") == 4 * shape.weights
    last = layers[-1]
    unread = [last.self_attn.q_proj, last.self_attn.o_proj, last.mlp]  # of content, in the last layer
    assert shape.content_weights == shape.weights - sum(p.numel() for part in unread for p in part.parameters())
    assert content.flops(shape, "full") == 12 * shape.content_weights + 12 * 3 * 1 * 24
    kept = Work(kept_pairs=3)
    assert kept.flops(shape, "lora") == 8 * 3 * 2 * 24
    assert content + probes + kept == Work(2, 3, 2, 3, 3)


def test_the_synthetic_store_is_always_the_same_and_shaped_like_ml_1m():
    first, again = synthetic_store(20), synthetic_store(20)
    for name in ("item", "label", "order", "split"):
        np.testing.assert_array_equal(getattr(first.shards[0], name), getattr(again.shards[0], name))
    np.testing.assert_array_equal(first.item_tokens, again.item_tokens)
    length_U = np.bincount(first.shards[0].user)
    assert length_U.min() >= 20
    assert length_U.mean() == pytest.approx(166, rel=0.1)
    assert content_per_interaction(first) == pytest.approx(8.7, rel=0.05)
    pairs = np.stack([first.shards[0].user, first.shards[0].item])
    assert np.unique(pairs, axis=1).shape == pairs.shape
    assert stream_prompts(first, "train", "all").targets.sum() == first.meta.counts.train


def test_one_user_has_as_many_interactions_as_asked_for():
    alone = one_user(synthetic_store(3, users=2, items=30), 100)
    assert alone.shards[0].order.tolist() == list(range(100))
    assert stream_prompts(alone, "train", "all").targets.tolist() == [95]


def numbers(content):
    """Every number of nested lists and dictionaries."""
    if isinstance(content, dict | list):
        values = content.values() if isinstance(content, dict) else content
        return [number for value in values for number in numbers(value)]
    return [content] if isinstance(content, int | float) else []


def test_a_run_gives_all_rows_a_table_and_a_plot(micro, tmp_path, capsys):
    target, plot = tmp_path / "result.json", tmp_path / "result.png"
    short = ["--rounds", "1", "--warmup", "1", "--seconds", "0.01", "--history", "8", "16"]
    short += ["--contexts", "2", "5", "--device", "cpu", "--no-memory"]
    paradigms.main(["--n", "3", "--targets", "20", "40", *short, "--json", str(target), "--plot", str(plot)])
    printed, content = capsys.readouterr().out, read_json(target)
    found = [(r["name"], r["tuning"], r["k"], r["targets_per_step"]) for r in content["rows"]]
    windows = [("window", "full", k, 20) for k in (5, 10, 50, 200, "all")]
    assert found == [
        ("sliding", "full", 1, 20),
        ("sliding-labels", "full", 1, 20),
        *windows,
        ("isolated", "full", "all", 20),
        ("isolated-tokens", "full", "all", 20),
        ("unique", "full", "all", 20),
        ("unique", "full", "all", 40),
        ("unique-tokens", "full", "all", 20),
        ("overlapping", "full", "all", 20),
        ("overlapping", "full", "all", 40),
        ("sliding", "lora", 1, 20),
        ("frozen", "lora", "all", 20),
        ("frozen", "lora", "all", 40),
    ]
    assert all(math.isfinite(x) and x > 0 for x in numbers(content))
    assert [r["ratio"] for r in content["rows"] if r["name"] == "sliding"] == [1, 1]
    assert [r["tokens_per_target"] for r in content["rows"] if r["name"] == "frozen"] == [1, 1]
    assert [(p["name"], p["k"], p["targets"]) for p in content["history"]] == [
        (name, k, count) for count in (3, 11) for name, k in (("sliding", 1), ("window", "all"), ("isolated", "all"))
    ]
    assert [(p["n"], p["name"]) for p in content["contexts"]] == [
        (n, name) for n in (2, 5) for name in ("sliding", "window", "isolated")
    ]
    bounds = {p["n"]: p["predicted_ratio"] for p in content["contexts"] if p["name"] == "isolated"}
    assert bounds[2] < bounds[5]
    assert content["catalogue"]["tokens"] > 0
    assert (content["rounds_done"], content["complete"]) == (1, True)
    assert "--targets 20 40 --rounds 1" in content["setup"]["arguments"]
    assert "peak" not in content["setup"], "a CPU has no MFU"
    assert content["setup"]["stream_pass"] == 16_384
    assert printed.rstrip().endswith(outcome.table(content))
    assert plot.read_bytes().startswith(b"\x89PNG")
    paradigms.main(["--table", str(target)])
    assert capsys.readouterr().out.rstrip() == outcome.table(content)


def test_older_results_are_printed_and_drawn_anew(tmp_path, capsys):
    """Rows of histories once had neither k nor the cost model's FLOPs."""
    content = read_json(ROOT / "benchmarks" / "speed" / "cpu-tiny-one-thread.json")
    for row in content["history"]:
        del row["k"], row["predicted_flops"]
    older, plot = tmp_path / "older.json", tmp_path / "older.png"
    older.write_text(json.dumps(content))
    paradigms.main(["--table", str(older), "--plot", str(plot)])
    assert "history of 800: isolated" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_one_result_is_drawn_at_a_time(tmp_path, capsys):
    with pytest.raises(SystemExit):
        paradigms.main(["--table", "a.json", "b.json", "--plot", str(tmp_path / "both.png")])
    assert "--plot draws one result; give --table one file" in capsys.readouterr().err


def test_larger_sizes_train_lora_alone_and_quick_has_four_rows():
    assert {p.tuning for p in rows.usual_rows("1b", [1_000], quick=False)} == {"lora"}
    for size, tuning in (("tiny", "full"), ("135m", "lora")):
        found = rows.usual_rows(size, [1_000], quick=True)
        assert [(p.name, p.k) for p in found] == [
            ("sliding", 1),
            ("window", 50),
            ("isolated", "all"),
            ("unique", "all"),
        ]
        assert {p.tuning for p in found} == {tuning}


def test_layers_are_computed_again_in_large_passes_or_in_all():
    words = ["--quick", "--size", "tiny", "--device", "cpu"]
    for given, expected in (
        ([], None),
        (["--activation-checkpointing"], 0),
        (["--activation-checkpointing", "70"], 70),
    ):
        parsed = paradigms.parsed([*words, *given])
        (sliding, *_) = paradigms.paradigms_of(parsed)
        assert paradigms.bench_of(parsed, [sliding]).model(sliding).checkpointed_above == expected
    with pytest.raises(SystemExit):
        paradigms.parsed([*words, "--activation-checkpointing", "0"])


def test_rows_are_chosen_by_name_and_k():
    found = rows.usual_rows("135m", [1_000], quick=False)
    chosen = rows.chosen_of(found, ["frozen", "window-50", "sliding"])
    assert [(p.name, p.k) for p in chosen] == [("sliding", 1), ("window", 50), ("frozen", "all")]
    both = rows.usual_rows("tiny", [1_000], quick=False)
    assert {p.tuning for p in rows.chosen_of(both, ["sliding", "window-50"])} == {"full"}
    assert {p.tuning for p in rows.chosen_of(both, ["sliding", "frozen"])} == {"lora"}
    with pytest.raises(DtiError, match="no row 'window-51'; there are sliding, sliding-1, sliding@1000, sli"):
        rows.chosen_of(found, ["sliding", "window-51"])
    several = rows.usual_rows("135m", [1_000, 4_000], quick=False)
    assert [p.targets for p in rows.chosen_of(several, ["sliding", "unique@4000"])] == [1_000, 4_000]
    with pytest.raises(DtiError, match="need the row sliding"):
        rows.chosen_of(found, ["frozen"])


def test_a_row_that_names_its_backend_is_measured_where_it_is_named():
    words = ["--quick", "--size", "tiny", "--device", "cpu"]
    assert all(row.backend == "auto" for row in paradigms.paradigms_of(paradigms.parsed(words)))
    parsed = paradigms.parsed([*words[1:], "--rows", "sliding", "sliding-blocks"])
    sliding, own = paradigms.paradigms_of(parsed)
    bench = paradigms.bench_of(parsed, [sliding, own])
    bench.backend = "reference"
    assert (own.sight(20), bench.model(own).backend) == (sliding.sight(20), "blocks")
    assert bench.model(sliding).backend == "reference"


def test_only_rows_whose_rate_does_not_depend_on_the_step_are_cut():
    found = rows.usual_rows("tiny", [1_000], quick=False)
    pieces = {(p.name, p.k): p.piece(20.0, 2.0, filling=3) for p in found}
    assert pieces["sliding", 1] == 42, "whole passes"
    assert pieces["window", 50] == 402
    assert found[0].piece(20.0, 2.0, filling=30) == 120, "four passes at least"
    assert found[0].piece(20.0, 2.0, filling=3_000) == 1_000
    assert {pieces["window", "all"], pieces["isolated", "all"], pieces["unique", "all"]} == {1_000}


def test_a_turn_of_overlapping_steps_stands_for_the_epoch(micro):
    """Steps that were composed last share least: each turn takes some of every kind, and their composing counts."""
    row = next(r for r in rows.rows_of("full", [20]) if r.name == "overlapping")
    bench = paradigms.bench_of(paradigms.parsed(["--n", "3", "--device", "cpu"]), [row])
    feed = bench.steps(row, 20)
    groups = [list(islice(feed, row.steps_a_round)) for _ in range(2)]
    distinct = [[np.unique(interactions_of(bench.store, step).item_M).size for step, _ in group] for group in groups]
    assert all(sizes == sorted(sizes) and sizes[0] < sizes[-1] for sizes in distinct)
    assert sum(distinct[0]) == pytest.approx(sum(distinct[1]), rel=0.1)
    shares = {seconds for group in groups for _, seconds in group}
    assert len(shares) == 1
    assert shares.pop() > 0
