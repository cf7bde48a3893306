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

KINDS = [(position, context) for position in ("alibi", "local") for context in ("all", "label")]


@pytest.fixture(params=[None, ["young man", "old", "", "young man", "old"]], ids=["plain", "profile"])
def store(make_store, request):
    """Five users with histories of 1 to 60 interactions over twelve items that repeat."""
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(["red", "blue", "lamp", "chair", "old"], rng.integers(1, 6))) for _ in range(12)]
    lengths = (1, 3, 12, 40, 60)
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(length)] for length in lengths]
    return make_store(histories, texts, n=3, k=5, profiles=request.param)


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


def gradients(model, row):
    model.zero_grad(set_to_none=True)
    out = model(row)
    (out * torch.linspace(-1, 1, out.numel())).sum().backward()
    return out, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("position", "context"), KINDS)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_unique_gradients_equal_those_of_streams_and_of_serving_prompts(ctr_model, store, backend, position, context):
    model = ctr_model(layers=3, backend=backend, probe_position=position, context=context).double()
    prompts = stream_prompts(store, "train", "all")
    expected, wanted = gradients(model, build_row(store, recut(store, prompts, 1)))
    for row in (
        build_row(store, prompts),
        build_unique(store, prompts),
        *(build_unique(store, recut(store, prompts, k)) for k in (1, 5, 50)),
    ):
        found, given = gradients(model, row)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert given.keys() == wanted.keys()
        for name, gradient in given.items():
            torch.testing.assert_close(gradient, wanted[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_every_family_reads_and_trains_unique_rows_as_prompts(ctr_model, store, backend, family):
    model = ctr_model(family, layers=2, backend=backend)
    prompts = stream_prompts(store, "train", "all")
    expected, wanted = gradients(model, build_row(store, recut(store, prompts, 1)))
    for k in (1, 5, 50, "all"):
        found, given = gradients(model, build_unique(store, recut(store, prompts, k)))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert given.keys() == wanted.keys()
        for name, gradient in given.items():
            scale = float(wanted[name].abs().max())
            torch.testing.assert_close(gradient, wanted[name], atol=1e-4 * scale, rtol=0, msg=name)


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


@pytest.mark.parametrize("backend", ["reference", "blocks"])
@pytest.mark.parametrize("context", ["all", "label"])
def test_what_a_target_may_not_read_leaves_its_logit_as_it_is(ctr_model, store, context, backend):
    """Bitwise, as the shapes stay: the own label, an interaction older than n, anything later."""
    for layout, build in (("stream", build_row), ("unique", build_unique)):
        model = ctr_model(layers=3, context=context, backend=backend)
        row = build(store, stream_prompts(store, "train", "all"))
        tokens = model.tokens
        with torch.no_grad():
            before = model(row)
            for probe in (5, 9, 30, 60):
                read = view_of(row, model.sight)
                mine = set()
                for s in read.segments:
                    mine |= set(s.keys_N[s.low_K[probe] : s.high_K[probe]].tolist())
                texts = {t for y in mine for t in range(int(read.start_S[y]), int(read.stop_S[y]))}
                others = sorted(set(range(row.tokens_S.size)) - mine - texts)
                assert others
                changed = row.tokens_S.copy()
                changed[others] = np.where(changed[others] == tokens.yes, tokens.no, (changed[others] + 7) % 200 + 50)
                after = model(replace(row, tokens_S=changed))
                assert after[probe] == before[probe], layout
                assert not torch.equal(after, before)


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
        results.append(gradients(model, build(store, prompts)))
    (expected, wanted), *others = results
    assert (expected - start).abs().max() > 1e-3
    assert {"slopes.0", "slopes.1"} < wanted.keys()
    for found, given in others:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert given.keys() == wanted.keys()
        for name, gradient in given.items():
            torch.testing.assert_close(gradient, wanted[name], atol=1e-6, rtol=1e-4, msg=name)


def test_learned_slopes_do_not_run_on_flex(ctr_model):
    with pytest.raises(DtiError, match="learned slopes do not run on flex"):
        ctr_model(backend="flex", slopes="learned")
