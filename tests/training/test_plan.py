"""The plan: every way is there, is counted from rows, and says whether it was measured; no speed is asserted."""

import math

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from dti import plan as command
from dti.attention.masks import mask_of
from dti.attention.visibility import Sight, view_of
from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.params import load_params
from dti.prompts.batching import rows
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts
from dti.prompts.store import Store
from dti.prompts.unique import build_unique
from dti.training import plan
from dti.training.checkpoint import trained_weights
from dti.training.flops import counted
from dti.training.plan import Cost, Planner, table, ways
from dti.training.probe import kept_bytes
from dti.training.run import work_of


@pytest.fixture
def planned(project):
    """``planned(steps=2, **sections)``: a planner of a small project, and its folder."""

    def make(steps=2, **sections):
        run = project("planned")
        run.set(**sections)
        return Planner(Store.open(run.folder / "data" / "packed"), load_params(run.folder / "params.yaml"), steps, 0)

    return make


def test_every_way_has_its_cost_and_the_weights_stay(planned):
    planner = planned()
    before = {name: w.detach().clone() for name, w in trained_weights(planner.model).items()}
    costs = planner.costs()
    names = ["these parameters", "sliding window", "window stream", "window stream", "isolated stream"]
    assert [c.way.name for c in costs] == [*names, "isolated unique"]
    assert [c.way.k for c in costs] == [5, 1, 5, "all", "all", "all"]
    assert [c.how for c in costs] == ["measured"] + 5 * ["extrapolated"]
    for cost in costs:
        assert min(cost.tokens, cost.flops, cost.rate, cost.hours, cost.memory) > 0
        assert cost.hours * 3600 * cost.rate == pytest.approx(cost.flops)
    assert costs[1].tokens > costs[2].tokens > costs[3].tokens >= costs[5].tokens
    assert all(w.allclose(before[name], atol=1e-6) for name, w in trained_weights(planner.model).items())
    text = table(costs, planner.params)
    assert text.count("extrapolated") == 5
    assert "sliding window" in text


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 3), (12.0, 5)])
def test_steps_are_timed_for_a_while_and_the_slow_ones_count(planned, monkeypatch, seconds, steps):
    """A step of 9 s that warms up, then 1, 2, 3, 4, 5 s: three steps at least, and until 12 s have passed."""
    planner = planned(steps=3)
    planner.seconds = seconds
    taken = iter([9.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(planner, "_timed", lambda step: (next(taken), 50, 0.0))
    assert planner._own(ways(planner.params, 5)[0]) == pytest.approx(sum(range(1, steps + 1)) / (50 * steps))


def test_another_way_is_extrapolated_from_all_of_its_passes_for_a_quarter_of_the_time(planned, monkeypatch):
    """Passes of 1, 2, 3, 4 s behind one of 9 s, 100 FLOPs each: at least three, and until 10 of 40 s have passed."""
    planner = planned(steps=20)
    planner.seconds = 40.0
    taken = iter([9.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(planner, "_timed", lambda step: (next(taken), 50, 100.0))
    assert planner._seconds(ways(planner.params, 5)[1], flops=7.0) == (pytest.approx(7 * 10 / 400), "extrapolated")


def test_memory_is_that_of_the_process_with_its_libraries(planned, monkeypatch):
    monkeypatch.setattr(plan, "resident_bytes", lambda: 10**9)
    planner = planned()
    weights = sum(4 * p.numel() for p in planner.model.parameters())
    assert 10**9 + 5 * weights < planner.cost(ways(planner.params, 5)[0], []).memory < 10**9 + 2**28


def test_memory_is_that_of_validation_where_its_passes_are_larger(planned, monkeypatch):
    planner = planned(train={"tokens_per_pass": 3000, "targets_per_step": 4})
    way = ways(planner.params, 5)[0]
    validated = planner.cost(way, []).memory
    validation = work_of(planner.store, planner.params.train, planner.model.sight).validation
    found = {r.tokens_S.size + r.target_K.size: r for r in rows(planner.store, validation, 3000, "stream")}
    assert planner._validated_tokens() == max(found)
    row = found[max(found)]
    monkeypatch.setattr(plan, "validated_on", lambda *_: None)
    largest = max(planner._counted(way)[2], key=planner.model.tokens_of)
    kept, layers = kept_bytes(planner.model, largest, "fp32"), planner.shape.layers
    more = planner.model.tokens_of(row) / planner.model.tokens_of(largest) / layers
    assert more > 1
    assert validated - planner.cost(way, []).memory == pytest.approx(2 * kept * (more - 1), abs=2)


@pytest.mark.parametrize(("probe_tokens", "targets"), [(1, None), (3, None), (1, 100)])
def test_tokens_are_those_that_training_counts(project, monkeypatch, probe_tokens, targets):
    run = project("counted", epochs=1, targets_per_step=70, targets=targets)  # 4 steps of 70 at most: all are counted
    run.set(attention={"probe_tokens": probe_tokens})
    run.train_here(monkeypatch)
    planner = Planner(Store.open(run.folder / "data" / "packed"), load_params(run.folder / "params.yaml"), 1, 0)
    assert planner.cost(ways(planner.params, 5)[0], []).tokens == run.report()["train_tokens"]


def test_frozen_content_is_planned_without_making_its_states(planned, packed, tmp_path, monkeypatch):
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = LlamaConfig(vocab_size=Store.open(packed).meta.vocabulary, **sizes)
    LlamaForCausalLM(base).save_pretrained(tmp_path / "base")
    costs = planned(model={"backbone": str(tmp_path / "base"), "tuning": "lora"}).costs()
    frozen, unique = costs[-1], costs[-2]
    assert (frozen.way.name, frozen.how) == ("frozen content", "not measured")
    assert (frozen.tokens, frozen.rate) == (280, unique.rate)
    assert frozen.flops < unique.flops
    assert not (tmp_path / "home" / "catalogues").exists()


def memory_of(planner):
    return planner.cost(ways(planner.params, 5)[0], []).memory - planner.libraries


def test_memory_of_validation_is_the_same_where_training_computes_layers_again(planned, monkeypatch):
    monkeypatch.setattr(Planner, "_validated_tokens", lambda self: 10**6)
    usual, again = (memory_of(planned(train={"activation_checkpointing": limit})) for limit in (False, True))
    assert again == pytest.approx(usual, rel=0.1)


def test_memory_is_that_of_the_largest_pass_which_computes_no_layer_again(planned, monkeypatch):
    monkeypatch.setattr(Planner, "_validated_tokens", lambda self: 0)
    none, some, everything = (
        memory_of(planned(train={"activation_checkpointing": limit})) for limit in (False, 100, True)
    )
    assert none > some > everything


def test_memory_with_checkpointing_is_that_of_the_largest_pass_and_a_layer_of_it(planned, monkeypatch):
    monkeypatch.setattr(Planner, "_validated_tokens", lambda self: 0)
    planner = planned(train={"activation_checkpointing": True})
    found = planner._counted(ways(planner.params, 5)[0])[2]
    largest = max(found, key=planner.model.tokens_of)
    again = kept_bytes(planner.model, largest, "fp32")
    planner.model.checkpointed_above = None
    whole = kept_bytes(planner.model, largest, "fp32")
    planner.model.checkpointed_above = 0
    kept, layer = planner._kept(found)
    assert layer * planner.model.tokens_of(largest) == pytest.approx(whole / planner.shape.layers, rel=0.1)
    assert kept == pytest.approx(again + whole / planner.shape.layers, rel=0.1)
    assert again < kept < whole


@pytest.mark.parametrize("content", ["trained", "frozen"])
def test_work_is_counted_from_what_several_probe_tokens_read(make_store, content):
    store = make_store([[(i % 5, i % 2) for i in range(12)]], ["red lamp", "chair", "old", "blue", "two"], n=3, k=5)
    row = build_unique(store, stream_prompts(store, "train", 5))
    sight = Sight("isolated", "local", "label", 3, content=content, probe_tokens=3)
    work, mask, content_tokens = counted(row, sight), mask_of(view_of(row, sight)), row.tokens_S.size
    probes = mask[content_tokens:]
    assert work.probes == probes.shape[0] == 3 * row.target_K.size
    read = int(probes.sum())
    among = int(probes[:, content_tokens:].sum())
    if content == "frozen":
        assert (work.kept_pairs, work.probe_pairs, work.content_pairs) == (read - among, among, 0)
    else:
        assert (work.kept_pairs, work.probe_pairs) == (0, read)
        assert work.content_pairs == int(mask[:content_tokens].sum())


def test_what_a_pass_keeps_grows_with_the_pass(planned):
    planner = planned()
    way = ways(planner.params, 5)[0]
    steps = planner._steps(way)
    step = next(steps)
    small, large = build_row(planner.store, step.take(slice(0, 1))), build_row(planner.store, step)
    assert 0 < kept_bytes(planner.model, small, "fp32") < kept_bytes(planner.model, large, "fp32")
    width, tokens = 16, large.tokens_S.size
    assert kept_bytes(planner.model, large, "fp32") > 4 * width * tokens * planner.shape.layers


@pytest.mark.parametrize(("hours", "fine"), [(0.9, True), (1.2, True), (1.3, False), (0.7, False)])
def test_check_refuses_a_prediction_that_is_off_by_more_than_a_quarter(
    planned, monkeypatch, tmp_path, capsys, hours, fine
):
    planner = planned()
    monkeypatch.chdir(tmp_path)
    counts = planner.store.meta.counts
    write_json(
        tmp_path / "reports/train.json",
        {"train_targets": counts.train, "epochs": 2, "training_hours": 2.0, "peak_bytes": 2**31},
    )
    cost = Cost(ways(planner.params, 5)[0], 1.0, 1.0, 1.0, hours, 2**30, "measured")
    if fine:
        command.check(cost, planner.targets)
    else:
        with pytest.raises(DtiError, match="off by more than 25%"):
            command.check(cost, planner.targets)
    printed = capsys.readouterr().out
    assert f"predicted {2 * hours:.4f} h for 2 epochs, took 2.0000 h: off by {hours - 1:+.1%}" in printed
    assert "memory: predicted 1.00 GiB, took 2.00 GiB at most" in printed


def test_a_run_on_other_data_is_not_compared(planned, monkeypatch, tmp_path):
    planner = planned()
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "reports/train.json", {"train_targets": 1, "epochs": 1, "training_hours": 1.0})
    with pytest.raises(DtiError, match="of a run on other data"):
        command.check(Cost(ways(planner.params, 5)[0], 1.0, 1.0, 1.0, 1.0, 1, "measured"), planner.targets)


def test_the_command_predicts_the_run_of_these_parameters(project, monkeypatch, capsys):
    """The whole way through; that the prediction is near is not asserted here: other work moves it."""
    run = project("whole", epochs=1)
    run.train_here(monkeypatch)
    monkeypatch.setattr(command, "NEAR", math.inf)
    command.run(type("Given", (), {"steps": 3, "seconds": 0.0, "check": True, "json": None})())
    assert "predicted " in capsys.readouterr().out
    command.run(type("Given", (), {"steps": 1, "seconds": 0.0, "check": False, "json": run.folder / "plan.json"})())
    printed, written = capsys.readouterr().out, read_json(run.folder / "plan.json")
    assert [way["way"] for way in written["ways"]] == [line[:18].strip() for line in printed.splitlines()[-7:-1]]
    assert f"{written['ways'][1]['tokens']:>16,.0f}" in printed, "of an epoch, and there is one"
    assert (written["epochs"], written["device"]) == (1, "CPU")


@pytest.mark.parametrize(("steps", "seconds"), [(0, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_lengths_of_a_plan_that_make_no_sense_are_refused(steps, seconds):
    with pytest.raises(DtiError, match="--steps must be" if steps < 1 else "--seconds must be"):
        command.run(type("Given", (), {"steps": steps, "seconds": seconds, "check": False})())
