"""The block path equals the reference, gradients too."""

import numpy as np
import pytest
import torch

from dti.attention import probes
from dti.attention.banded import Banded
from dti.attention.blocks import Blocks
from dti.attention.causal import Causal, causal_of
from dti.attention.forgetting import Forgetting
from dti.attention.probes import _rows
from dti.attention.reference import Reference, slopes_of
from dti.attention.visibility import Sight, View, view_of
from dti.prompts.beside import Asked, asked_row
from dti.prompts.build import build_row
from dti.prompts.catalogue import Catalogue
from dti.prompts.packing import stream_prompts
from dti.prompts.unique import build_unique

SHAPES = [
    {"prompts": 1, "n": 1, "targets": 1, "longest": 1},
    {"prompts": 30, "n": 3, "targets": 1, "longest": 6},
    {"prompts": 3, "n": 4, "targets": 40, "longest": 5},
    {"prompts": 2, "n": 3, "targets": 6, "longest": 70},
    {"prompts": 2, "n": 20, "targets": 30, "longest": 12},
    {"prompts": 9, "n": 20, "targets": 1, "longest": 12},
]


@pytest.mark.parametrize("profile", [False, True])
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", ["rope", "alibi", "local"])
@pytest.mark.parametrize("policy", ["window", "isolated"])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_blocks_equal_the_reference(random_row, attend, shape, policy, position, context, profile):
    row = random_row(shape, **SHAPES[shape], profile=profile)
    view = view_of(row, Sight(policy, position, context, SHAPES[shape]["n"]))
    expected, expected_gradients = attend(Reference, view)
    found, gradients = attend(Blocks, view)
    # In float64, all but the bias table (float32) is exact to rounding.
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("probe_tokens", [2, 5])
@pytest.mark.parametrize(("policy", "context"), [("window", "all"), ("isolated", "all"), ("isolated", "label")])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_blocks_equal_the_reference_with_several_probe_tokens(random_row, attend, shape, policy, context, probe_tokens):
    row = random_row(shape, **SHAPES[shape], profile=shape == 2)
    view = view_of(row, Sight(policy, "local", context, SHAPES[shape]["n"], probe_tokens=probe_tokens))
    expected, expected_gradients = attend(Reference, view)
    found, gradients = attend(Blocks, view)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("probe_tokens", [1, 3])
def test_many_candidates_of_a_request_are_one_block(attend, probe_tokens):
    """Neighbours that read the same keys: the context of the request."""
    texts, items = np.arange(10, 22, dtype=np.int32), np.arange(13)
    catalogue = Catalogue.of(texts, items, np.empty(0, np.int32), np.zeros(1, np.int64), np.array([3, 4]))
    asked = Asked(np.arange(4), np.array([3, 4, 4, 3]), np.arange(300) % 12)
    view = view_of(
        asked_row(catalogue, [asked], unique=True), Sight("isolated", "local", "label", 4, probe_tokens=probe_tokens)
    )
    assert probes._probes_per_block(view) == probes.MANY_PER_BLOCK * probe_tokens
    expected, expected_gradients = attend(Reference, view)
    found, gradients = attend(Blocks, view)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("at", ["probes", "content", "both"])
@pytest.mark.parametrize("family", ["linear", "exponential", "step"])
@pytest.mark.parametrize(("strength", "profile"), [(0.4, True), (1.0, False)])
@pytest.mark.parametrize("shape", [1, 2, 4])
def test_forgetting_blocks_equal_the_reference(random_row, attend, shape, strength, profile, family, at):
    row = random_row(shape, **SHAPES[shape], profile=profile)
    forgetting = Forgetting(family, strength, at)
    view = view_of(row, Sight("window", "local", "all", SHAPES[shape]["n"], forgetting))
    expected, expected_gradients = attend(Reference, view, forgets=True)
    found, gradients = attend(Blocks, view, forgets=True)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(gradients, expected_gradients, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("shape", "whole"), [(5, True), (1, False), (4, False)])
def test_long_prompts_of_one_target_are_attended_as_they_are(random_row, shape, whole):
    """Short ones, and those in which a window ends inside, in bands of blocks."""
    view = view_of(random_row(shape, **SHAPES[shape]), Sight("window", "rope", "all", SHAPES[shape]["n"]))
    assert isinstance(Blocks(view, 2, torch.device("cpu"))._content, Causal if whole else Banded)


def test_runs_of_about_one_length_are_one_group():
    """Runs of 3, 40 and 35 tokens; every token finds itself again."""
    length_R = [3, 40, 35]
    start_S = torch.repeat_interleave(torch.tensor([0, 3, 43]), torch.tensor(length_R))
    view = View(start_S, torch.arange(78), (), *(torch.empty(0) for _ in range(5)), biased=False)
    plan = causal_of(view, torch.device("cpu"))
    assert [(group.runs, group.length) for group in plan.groups] == [(1, 3), (2, 40)]
    assert torch.equal(plan.place_N[plan.back_S], torch.arange(78))
    assert plan.place_N[-6:].tolist() == [77] * 6, "the last token, itself and five times as padding"
    assert plan.mean_length == 26


@pytest.mark.parametrize("change", ["reads another run", "skips a token", "none"])
def test_content_that_reads_otherwise_has_no_such_plan(change):
    start_S, stop_S = torch.tensor([0, 0, 0, 3, 3]), torch.arange(5)
    if change == "reads another run":
        start_S[3:] = 2
    if change == "skips a token":
        stop_S[4] = 3
    view = View(start_S, stop_S, (), *(torch.empty(0) for _ in range(5)), biased=False)
    assert (causal_of(view, torch.device("cpu")) is None) == (change != "none")


@pytest.mark.parametrize("probe_tokens", [1, 3])
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("build", [build_row, build_unique])
def test_probes_have_no_copy_of_their_contexts(make_store, attend, monkeypatch, build, context, probe_tokens):
    """What is gathered for all of a block's probes is about that which one of them reads and the others read besides.

    A copy for each probe would be n + 1 contexts a probe, ten times as much.
    """
    gathered = []

    def spy(x, places):
        gathered.append(places.numel())
        return _rows(x, places)

    monkeypatch.setattr(probes, "_rows", spy)
    history = [(i % 7, i % 2) for i in range(100)]
    store = make_store([history], ["red", "blue lamp", "old chair", "two", "big bed", "lamp", "tall"], n=20, k="all")
    row = build(store, stream_prompts(store, "train", "all"))
    view = view_of(row, Sight("isolated", "local", context, 20, probe_tokens=probe_tokens))
    attend(Blocks, view)
    read = sum(int((s.high_K - s.low_K).sum()) for s in view.segments)
    own = probe_tokens * int(row.text_M.sum()) if context == "label" else 0
    keys_and_values = 2
    assert 0 < sum(gathered) < keys_and_values * ((read - own) / 5 + own)


def test_alpha_by_distance():
    assert Forgetting("linear", 0.8, "both").alpha(4).tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert Forgetting("exponential", 0.5, "both").alpha(3).tolist() == [0.0, 0.5, 0.75, 0.875]
    assert Forgetting("step", 0.5, "both").alpha(2).tolist() == [0.0, 0.5, 0.5]


def test_slopes_fall_from_head_to_head():
    assert slopes_of(8).tolist() == [2.0**-h for h in range(1, 9)]
