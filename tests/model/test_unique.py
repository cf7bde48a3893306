"""The unique layout and frozen content give a target the logit of its serving prompt, and the same gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dti.attention.families import FAMILIES
from dti.attention.masks import mask_of
from dti.attention.visibility import Sight, view_of
from dti.errors import DtiError
from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import recut, serving_prompts, stream_prompts
from dti.prompts.unique import build_unique
from tests.model.outcome import BACKENDS, POSITIONS, check_same, outcome

KINDS = [(position, context) for position in ("alibi", "local") for context in ("all", "label")]


@pytest.fixture(params=["plain", "profile, ratings"])
def store(make_store, request):
    """Five users with histories of 1 to 60 interactions over seven items that repeat, perhaps with profiles and five
    label tokens."""
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(["red", "blue", "lamp", "chair", "old"], rng.integers(1, 6))) for _ in range(7)]
    stars = [rng.integers(1, 6, length).tolist() for length in (1, 3, 12, 40, 60)]
    histories = [[(int(rng.integers(7)), int(s > 3)) for s in user] for user in stars]
    rated = {"profiles": ["young man", "old", "", "young man", "old"], "ratings": stars, "context_labels": "rating"}
    return make_store(histories, texts, n=3, k=5, **(rated if request.param != "plain" else {}))


def test_an_item_has_as_many_labels_behind_it_as_there_are_label_tokens(store):
    row = build_unique(store, stream_prompts(store, "train", "all"))
    assert (row.stop_E - row.text_stop_E).max() == (5 if store.meta.tokens.ratings else 2)


def served(model, store):
    return logits_of(model, store, serving_prompts(store, "train"), 10_000, "serving")


@pytest.mark.parametrize("k", [1, 5, 50, "all"])
@pytest.mark.parametrize(("position", "context"), KINDS)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_unique_logits_equal_those_of_serving_prompts(ctr_model, store, backend, position, context, k):
    model = ctr_model(layers=3, backend=backend, probe_position=position, context=context)
    expected = served(model, store)
    model.layout = "unique"
    found = logits_of(model, store, stream_prompts(store, "train", k), 10_000, "unique")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("position", "context"), KINDS)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_unique_gradients_equal_those_of_streams_and_of_serving_prompts(ctr_model, store, backend, position, context):
    model = ctr_model(layers=3, backend=backend, probe_position=position, context=context).double()
    prompts = stream_prompts(store, "train", "all")
    serving = outcome(model, build_row(store, recut(store, prompts, 1)))
    for row in (
        build_row(store, prompts),
        build_unique(store, prompts),
        *(build_unique(store, recut(store, prompts, k)) for k in (1, 5, 50)),
    ):
        check_same(outcome(model, row), serving, gradients=1e-6)


@pytest.mark.parametrize(
    ("backend", "position", "context"),
    [("reference", "local", "label"), ("blocks", "local", "label"), ("blocks", "alibi", "all")],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reads_and_trains_unique_rows_as_prompts(ctr_model, store, backend, family, position, context):
    model = ctr_model(family, layers=2, backend=backend, probe_position=position, context=context)
    prompts = stream_prompts(store, "train", "all")
    serving = outcome(model, build_row(store, recut(store, prompts, 1)))
    for k in (1, 5, 50, "all"):
        check_same(outcome(model, build_unique(store, recut(store, prompts, k))), serving)


@pytest.mark.parametrize("store", ["plain"], indirect=True)
@pytest.mark.parametrize(
    ("family", "position", "context"),
    [*(("llama", *kind) for kind in KINDS), *((family, "local", "label") for family in FAMILIES if family != "llama")],
)
def test_unique_rows_equal_serving_prompts_on_flex(ctr_model, store_for, family, position, context):
    small = store_for("flex")
    prompts = stream_prompts(small, "train", "all")
    blocks, model = (
        ctr_model(family, probe_position=position, context=context, backend=name) for name in ("blocks", "flex")
    )
    serving = outcome(blocks, build_row(small, recut(small, prompts, 1)))
    for k in (1, 5, 50, "all"):
        check_same(outcome(model, build_unique(small, recut(small, prompts, k))), serving)


def test_an_item_with_two_labels_keeps_them_blind_to_each_other(make_store):
    store = make_store([[(0, 1), (1, 1), (0, 0), (0, 1)]], ["a", "b"], n=3, k="all")
    row = build_unique(store, stream_prompts(store, "train", "all"))
    assert store.text_lengths.tolist() == [1, 1]
    view = view_of(row, Sight("isolated", "local", "label", 3))
    lines = ["".join("1" if cell else "." for cell in line) for line in mask_of(view).tolist()]
    assert lines == [
        # a n y b y A B A A    (n, y: no and yes; probes of the four interactions, the last two of item a)
        "1........",
        "11.......",
        "1.1......",
        "...1.....",
        "...11....",
        "1....1...",
        "..11..1..",
        "1.1.1..1.",
        "111.1...1",
    ]
    assert view.position_S.tolist() == [-1, 0, 0, -1, 0]


def readable(row, probe, n):
    """Places of a probe's prefix, of the n interactions before its target, and of the target's text."""
    target = row.target_K[probe]
    prompt = row.prompt_M[target]
    places = set(range(row.prefix_start_P[prompt], row.prefix_stop_P[prompt]))
    for m in range(max(row.first_P[prompt], target - n), target + 1):
        places |= {*range(row.start_M[m], row.start_M[m] + row.text_M[m]), *([row.label_M[m]] if m < target else [])}
    return places


def check_blind(model, store, build, probes):
    """Bitwise, as the shapes stay: the own label, an interaction older than n, anything later leave a logit alone."""
    row = build(store, stream_prompts(store, "train", "all"))
    tokens = model.tokens
    with torch.no_grad():
        before = model(row)
        for probe in probes:
            others = sorted(set(range(row.tokens_S.size)) - readable(row, probe, model.sight.n))
            assert others
            changed = row.tokens_S.copy()
            changed[others] = np.where(changed[others] == tokens.yes, tokens.no, (changed[others] + 7) % 200 + 50)
            after = model(replace(row, tokens_S=changed))
            assert after[probe] == before[probe]
            assert not torch.equal(after, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("build", [build_row, build_unique])
def test_what_a_target_may_not_read_leaves_its_logit_as_it_is(ctr_model, store, build, context, backend):
    check_blind(ctr_model(layers=3, context=context, backend=backend), store, build, (5, 9, 30, 60))


@pytest.mark.parametrize("store", ["plain"], indirect=True)
@pytest.mark.parametrize(
    ("build", "position"), [*((build_row, p) for p in POSITIONS), *((build_unique, p) for p in ("alibi", "local"))]
)
@pytest.mark.parametrize(
    ("backend", "context"), [("blocks", "label"), ("blocks", "all"), ("reference", "label"), ("flex", "label")]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_leaves_the_logit_in_every_family_and_position(ctr_model, store, build, position, family, backend, context):
    check_blind(ctr_model(family, probe_position=position, backend=backend, context=context), store, build, (9, 60))


@pytest.mark.parametrize("sight", [{"policy": "window", "context": "all"}, {"probe_position": "rope"}])
def test_unique_is_refused_where_states_depend_on_what_stands_before(ctr_model, store, sight):
    row = build_unique(store, stream_prompts(store, "train", "all"))
    with pytest.raises(ValueError, match="unique layout needs policy isolated and probe_position alibi or local"):
        ctr_model(**sight)(row)


@pytest.mark.parametrize("position", ["alibi", "local"])
def test_learned_slopes_begin_as_alibis_and_get_the_references_gradients(ctr_model, store, position):
    sight = {"probe_position": position, "context": "label", "slopes": "learned"}
    prompts = stream_prompts(store, "train", "all")
    fixed = ctr_model(probe_position=position)
    with torch.no_grad():
        start = fixed(build_row(store, prompts))
        torch.testing.assert_close(ctr_model(**sight)(build_row(store, prompts)), start, atol=1e-5, rtol=1e-5)
    results = []
    for backend, build in (("reference", build_row), ("blocks", build_row), ("blocks", build_unique)):
        model = ctr_model(backend=backend, **sight).double()
        with torch.no_grad():
            for slopes in model.slopes:
                slopes.mul_(torch.tensor([1.0, -0.5, 3.0, 0.2]))
        results.append(outcome(model, build(store, prompts)))
    expected, *others = results
    assert (expected[0] - start).abs().max() > 1e-3
    assert {"slopes.0", "slopes.1"} < expected[1].keys()
    for found in others:
        check_same(found, expected, gradients=1e-6)


def test_learned_slopes_do_not_run_on_flex(ctr_model):
    with pytest.raises(DtiError, match="learned slopes do not run on flex"):
        ctr_model(backend="flex", slopes="learned")
