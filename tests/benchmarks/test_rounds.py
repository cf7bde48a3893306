"""Rows in turns, what is made of their steps, and what is kept of a run that is stopped."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import outcome, paradigms, rounds
from benchmarks.measure import Bench, Paradigm, Step
from benchmarks.profiling import GROUPS, group_of, shares
from benchmarks.rows import usual_rows
from benchmarks.workloads import SIZES, one_user, synthetic_store
from dti.attention.visibility import Sight
from dti.files import read_json
from dti.home import ROOT
from dti.params import Train, load_params
from dti.prompts.batching import rows
from dti.prompts.build import content_tokens
from dti.prompts.packing import stream_prompts
from dti.training import flops
from dti.training.flops import Shape, Work

THREE = ["--rows", "sliding", "window-50", "isolated"]
SLIDING = Paradigm("sliding", 1, 10, "full", "window", "rope", "all")
UNIQUE = Paradigm("unique", "all", 4_000, "full", "isolated", "local", "label", "unique")
FROZEN = Paradigm("frozen", "all", 10, "lora", "isolated", "local", "label", "unique", "frozen")


def made_up(paradigm, rates, peak=0):
    """A result row of steps of 10 targets at these rates."""
    work = Work(content=100, content_pairs=300, probes=10, probe_pairs=200)
    steps = [Step(10, 10 / rate, work, distinct=5, texts=20, labels=20, peak=peak) for rate in rates]
    return outcome.result_of(paradigm, steps, Shape(2, 16, 2, 1, 32), 3, 4.0)


@pytest.fixture
def steps(monkeypatch):
    """Names of the rows whose steps were taken, in order."""
    taken, step = [], Bench.step

    def spy(self, paradigm, prompts, composing=0):
        taken.append(paradigm.name)
        return step(self, paradigm, prompts, composing)

    monkeypatch.setattr(Bench, "step", spy)
    return taken


def test_all_rows_warm_up_and_then_take_turns(measured, steps):
    measured(*THREE)
    in_turn = ["sliding", "window", "isolated"]
    assert steps == in_turn + in_turn + in_turn[::-1]


@pytest.mark.parametrize(("filling", "timed"), [(2, 200), (3, 201), (100, 400)])
def test_a_slow_warm_up_step_does_not_shrink_the_timed_ones(filling, timed):
    rates, sizes = iter([0.5, 80.0, 100.0, 0.5]), []  # targets a second; the first and the last step compile

    def step(paradigm, targets, _):
        sizes.append(targets)
        return Step(targets, targets / next(rates), Work(), distinct=1, texts=1, labels=1, peak=0)

    bench = SimpleNamespace(filling=lambda _: filling, steps=lambda _, targets: iter([(targets, 0.0)]), step=step)
    assert rounds.warmed(bench, replace(SLIDING, targets=1_000), warmup=4, seconds=2.0) == timed
    assert sizes == [-(-max(4 * filling, size) // filling) * filling for size in (8, 8, 160, 200)]


@pytest.mark.parametrize("k", [1, 5])
def test_targets_that_fill_a_pass(k):
    store = synthetic_store(5, users=40, items=60)
    train = Train.model_construct(tokens_per_pass=4_000, seed=1)
    bench = Bench(store, Shape(1, 16, 2, 1, 32), train, None, torch.device("cpu"))
    paradigm = replace(SLIDING, k=k)
    step, _ = next(bench.steps(paradigm, bench.filling(paradigm)))
    assert content_tokens(store, step).sum() == pytest.approx(4_000, rel=0.2)


def test_the_median_and_the_extremes_of_rounds_are_reported():
    results = [made_up(SLIDING, [1, 2, 3]), made_up(UNIQUE, [2, 1, 9])]
    assert [results[1][name] for name in ("targets_per_second", "low", "high")] == pytest.approx([2, 1, 9])
    outcome.compare(results)
    ratios = [results[1][name] for name in ("ratio", "ratio_low", "ratio_high")]
    assert ratios == pytest.approx([2, 0.5, 3]), "of the rounds' own, 2, 0.5 and 3; the medians' is 1"
    assert results[1]["reached"] == pytest.approx(2 / results[1]["predicted_ratio"])


def test_mfu_is_the_counted_flops_a_second_of_the_peak():
    shape = Shape(layers=2, width=10, heads=1, kv_heads=1, ffn=20)
    assert (shape.weights, shape.content_weights) == (2_000, 1_200)
    work = Work(content=8, content_pairs=50, probes=1, probe_pairs=30)
    # 4 (2,000 x 1 + 1,200 x 8) and 12 x 10 x (2 layers x 30 pairs + 1 layer x 50 pairs)
    assert work.flops(shape, "lora") == 46_400 + 13_200
    assert outcome.mfu_of(59_600, targets_per_second=1_000, peak=1e9) == pytest.approx(0.0596)


def test_the_formula_of_mfu_and_its_peak_are_printed_where_it_is_known():
    row = made_up(SLIDING, [1, 2]) | {"mfu": 0.25}
    outcome.compare([row])
    content = {"setup": {"peak": 312e12}, "rows": [row], "catalogue": {}, "history": []}
    assert f"{outcome.MFU} (312 TFLOP/s)" in outcome.table(content)
    row["mfu"] = None
    assert "MFU =" not in outcome.table(content)


def test_the_default_peak_on_another_gpu_is_warned_of():
    assert paradigms.peak_warning(None, "NVIDIA H100 80GB HBM3") is None
    assert paradigms.peak_warning(312e12, "NVIDIA A100") is None
    assert "989 TFLOP/s, and this is NVIDIA A100; give its --peak" in paradigms.peak_warning(None, "NVIDIA A100")


def test_compiling_is_refused_on_a_cpu(micro, capsys):
    with pytest.raises(SystemExit, match="--compile gains nothing on a CPU"):
        paradigms.main(["--quick", "--device", "cpu", "--compile"])


def test_a_stopped_run_keeps_the_rounds_that_it_finished(measured, monkeypatch, tmp_path, capsys):
    step, count = Bench.step, iter(range(100))

    def stopping(self, paradigm, prompts, composing=0):
        if next(count) == 3 + 2 * 3 + 1:  # in the third round
            raise KeyboardInterrupt
        return step(self, paradigm, prompts, composing)

    monkeypatch.setattr(Bench, "step", stopping)
    with pytest.raises(SystemExit) as ended:
        measured(*THREE, "--rounds", "4")
    assert ended.value.code == 130
    content = read_json(tmp_path / "result.json")
    assert (content["rounds_done"], content["complete"]) == (2, False)
    assert [len(row["rates"]) for row in content["rows"]] == [2, 2, 2]
    assert all(row["ratio"] > 0 for row in content["rows"])
    paradigms.main(["--table", str(tmp_path / "result.json"), "--markdown", str(tmp_path / "result.md")])
    assert "STOPPED after 2 of 4 rounds" in capsys.readouterr().out
    assert "Stopped after 2 of 4 rounds." in (tmp_path / "result.md").read_text()


def test_rows_as_markdown():
    results = [made_up(SLIDING, [40, 50, 60], 2**30), made_up(UNIQUE, [1_000, 1_500, 2_000], 2**31)]
    results += [made_up(replace(UNIQUE, targets=16_000), [2_000, 2_500, 3_000], 2**31)]
    results += [made_up(replace(SLIDING, tuning="lora"), [0.3, 0.35, 0.4], 2**30), made_up(FROZEN, [50, 60, 70], 2**30)]
    outcome.compare(results)
    for result in results:
        result |= {"predicted_ratio": 2.0, "reached": result["ratio"] / 2}
    content = {"rows": results}
    assert outcome.markdown(content).splitlines() == [
        "| paradigm | k | targets a step | targets/s [lowest, highest] "
        "| ratio to sliding window [lowest, highest] | FLOP bound | reached | tokens a target | peak GiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| sliding window | 1 | 10 | 50 [40, 60] | 1.0 [1.0, 1.0] | 2.0 | 50 % | 11.0 | 1.00 |",
        "| isolated unique | all | 4,000 | 1,500 [1,000, 2,000] | 30.0 [25.0, 33.3] | 2.0 | 1500 % | 11.0 | 2.00 |",
        "|  | all | 16,000 | 2,500 [2,000, 3,000] | 50.0 [50.0, 50.0] | 2.0 | 2500 % | 11.0 | 2.00 |",
        "| sliding window, LoRA | 1 | 10 | 0.35 [0.3, 0.4] | 1.0 [1.0, 1.0] | 2.0 | 50 % | 11.0 | 1.00 |",
        "| isolated unique, frozen content, LoRA | all | 10 | 60 [50, 70] | 171.4 [166.7, 175.0] | 2.0 | 8571 % "
        "| 11.0 | 1.00 |",
    ]
    results[0] |= {"peak_bytes": None, "mfu": 0.25}
    lines = outcome.markdown(content).splitlines()
    assert lines[0].endswith("| tokens a target | peak GiB | MFU |")
    assert lines[2].endswith("| 11.0 | - | 25.0% |")
    assert lines[3].endswith("| 11.0 | 2.00 | - |")
    assert {line.count("|") for line in lines} == {11}


def test_lengths_of_history_are_warmed_up_and_rows_take_turns(measured, steps):
    content = measured("--rows", "sliding", "window-all", "isolated", "--rounds", "1", "--history", "8", "16")
    in_turn = ["sliding", "window", "isolated"]
    assert steps == 2 * in_turn + 2 * 4 * in_turn, "the table, then one untimed and three timed steps a length"
    assert all(0 < p["low"] <= p["seconds"] <= p["high"] for p in content["history"])
    assert all(p["predicted_flops"] > 0 for p in content["history"])


def tokens(interactions, n, policy, k):
    """Tokens that training on all targets of one user takes, counted; an interaction has four of content."""
    store = synthetic_store(n, users=1, items=30)
    texts = {"item_tokens": np.arange(90, dtype=np.int32) + 5, "item_offsets": np.arange(31) * 3}
    alone = one_user(replace(store, **texts), interactions)
    sight = Sight(policy, "local", "all", n)
    batch = rows(alone, stream_prompts(alone, "train", k), 10_000, "stream")
    return sum(flops.counted(row, sight).tokens for row in batch)


def test_tokens_grow_linearly_with_the_history_and_their_ratio_approaches_its_limit():
    n, c, lengths = 5, 4, (100, 200, 300, 400)
    sliding, isolated = (
        [tokens(m, n, *way) for m in (*lengths, 4_000)] for way in (("window", 1), ("isolated", "all"))
    )
    for counted in (sliding, isolated):
        assert len(set(np.diff(counted[:4]))) == 1
    limit = (n + 1) * c / (c + 1)
    assert sliding[-1] / isolated[-1] == pytest.approx(limit, rel=2e-3)
    assert sliding[-1] / isolated[-1] != pytest.approx(sliding[0] / isolated[0], rel=2e-3)


def test_a_profile_says_where_the_time_of_each_row_goes(measured, capsys):
    content = measured("--rows", "sliding", "isolated", "unique", "--profile")
    for row in content["rows"]:
        assert tuple(row["profile"]) == GROUPS
        assert sum(row["profile"].values()) == pytest.approx(1)
        assert all(row["profile"][group] > 0 for group in GROUPS)
    assert capsys.readouterr().out.count("profile of ") == 3


def test_operations_fall_into_groups():
    assert group_of("aten::addmm") == group_of("sm90_xmma_gemm_bf16") == "matrix products"
    assert group_of("aten::_softmax_backward_data") == group_of("triton_tem_fused_flex_0") == "softmax and attention"
    assert group_of("aten::index_select") == group_of("Memcpy HtoD") == "gather and copy"
    assert group_of("aten::silu") == group_of("vectorized_elementwise_kernel") == "element-wise"
    assert group_of("aten::mul_", ["Optimizer.step#AdamW.step"]) == group_of("multi_tensor_apply_kernel") == "optimiser"
    assert group_of("autograd::engine::evaluate_function: MmBackward0") == "rest"
    found = shares([("aten::mm", [], 3.0), ("aten::mm", ["Optimizer.step"], 1.0)], built=4.0)
    assert {group: share for group, share in found.items() if share} == {
        "matrix products": 0.375,
        "optimiser": 0.125,
        "rows built": 0.5,
    }


def test_memory_is_measured_by_default_on_a_cpu_unless_it_must_be_quick():
    assert paradigms.parsed([]).memory
    assert not paradigms.parsed(["--quick"]).memory
    assert not paradigms.parsed(["--no-memory"]).memory
    assert paradigms.parsed(["--quick", "--memory"]).memory


@pytest.mark.slow
def test_each_row_has_a_peak_of_its_own_process(make_store, tmp_path):
    rng = np.random.default_rng(1)
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(9)] for _ in range(4)]
    packed = make_store(histories, [f"lamp {number}" for number in range(12)], n=3).folder
    target = tmp_path / "result.json"
    short = ["--rounds", "1", "--warmup", "1", "--seconds", "0.01", "--targets", "10", "--history", "--contexts"]
    chosen = ["--packed", str(packed), "--rows", "sliding", "window-5", "--device", "cpu", "--json", str(target)]
    command = [*chosen, *short, "--memory"]
    paradigms.main(command)
    found = read_json(target)["rows"]
    assert len(found) == 2
    assert all(row["peak_bytes"] > 2**26 for row in found)


@pytest.mark.slow
def test_the_quick_run_ends_in_two_minutes(tmp_path):
    target = tmp_path / "result.json"
    command = [sys.executable, ROOT / "benchmarks" / "paradigms.py", "--quick", "--device", "cpu", "--json", target]
    subprocess.run(command, check=True, timeout=120)
    content = read_json(target)
    assert content["complete"]
    assert len([row["ratio"] for row in content["rows"]]) == 4


@pytest.mark.parametrize(("size", "unique", "stream"), [(131_072, 131_072, 16_384), (8_192, 8_192, 8_192)])
def test_streams_have_smaller_passes(size, unique, stream):
    """They share nothing in a pass: the sliding window must not be slowed down by what suits another row."""
    train = load_params().train.model_copy(update={"tokens_per_pass": size})
    bench = Bench(None, SIZES["tiny"], train, None, torch.device("cpu"))
    found = {(row.name, row.layout): bench.train_of(row).tokens_per_pass for row in usual_rows("tiny", [1_000], False)}
    assert {size for (_, layout), size in found.items() if layout == "unique"} == {unique}
    assert {size for (_, layout), size in found.items() if layout == "stream"} == {stream}
