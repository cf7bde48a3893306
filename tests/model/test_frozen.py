"""Frozen content: the base model's states, computed once, read by probes that the adapter acts on."""

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from dti.attention.families import FAMILIES
from dti.attention.visibility import Sight
from dti.model import catalogue
from dti.model.ctr import CtrModel
from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import recut, stream_prompts
from dti.prompts.unique import build_unique
from tests.model.outcome import BACKENDS, check_same, outcome
from tests.model.test_unique import readable


@pytest.fixture(params=["plain", "profile, ratings"])
def store(make_store, request):
    """Three users; perhaps with profiles and five label tokens."""
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(["red", "blue", "lamp", "chair"], rng.integers(1, 5))) for _ in range(8)]
    stars = [rng.integers(1, 6, length).tolist() for length in (3, 12, 55)]
    histories = [[(int(rng.integers(8)), int(s > 3)) for s in user] for user in stars]
    rated = {"profiles": ["young man", "old", "young man"], "ratings": stars, "context_labels": "rating"}
    return make_store(histories, texts, n=3, k=5, **(rated if request.param != "plain" else {}))


@pytest.fixture
def lora_model(adapted, flex_on_cpu):
    """``lora_model(store, family="llama", backend="blocks", **sight)``: its adapter and its slopes do something."""

    def make(store, family="llama", backend="blocks", **sight):
        reading = {"probe_position": "local", "context": "label", "content": "frozen"} | sight
        layout = "unique" if reading["content"] == "frozen" else "stream"
        made = adapted(store, family)
        model = CtrModel(made, store.meta.tokens, Sight("isolated", n=3, **reading), backend, layout).eval()
        if model.slopes is not None:
            with torch.no_grad():
                for slopes in model.slopes:
                    slopes.mul_(torch.tensor([1.0, -0.5, 3.0, 0.2]))
        return model

    return make


def give_two_passes(model, row):
    """The definition: content by the base model alone, then the probes by the adapted one, on the same row."""
    with model.backbone.disable_adapter():
        content = model.content_states(replace(row, target_K=row.target_K[:0], answer_K=row.answer_K[:0]))

    class Given:
        def whole(self, dtype):
            return None

        def of(self, places):
            return self

        def layer(self, number):
            return content[number]

    model.states = Given()


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DTI_HOME", str(tmp_path))


def check_states(model, store):
    """States on disk, for prompts of any k, give the logits and gradients of two passes over serving prompts."""
    prompts = stream_prompts(store, "train", "all")
    served = recut(store, prompts, 1)
    row = replace(build_row(store, served), place_S=build_unique(store, served).place_S)
    give_two_passes(model, row)
    expected = outcome(model, row)
    catalogue.give_states(model, store, 40, "fp32")
    for k in (1, 5, 50, "all"):
        check_same(outcome(model, build_unique(store, recut(store, prompts, k))), expected)


@pytest.mark.parametrize(("position", "context"), [("local", "label"), ("local", "all"), ("alibi", "label")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_states_on_disk_equal_two_passes_gradients_too(lora_model, store, backend, position, context):
    check_states(lora_model(store, backend=backend, probe_position=position, context=context), store)


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_on_disk_equal_two_passes_with_several_probe_tokens(lora_model, store, backend):
    check_states(lora_model(store, backend=backend, probe_tokens=3), store)


@pytest.mark.parametrize("store", ["profile, ratings"], indirect=True)
@pytest.mark.parametrize(
    "sight",
    [{}, {"slopes": "learned"}, {"probe_position": "alibi", "context": "all"}, {"backend": "reference"}],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_states_on_disk_equal_two_passes_in_every_family(lora_model, store, family, sight):
    check_states(lora_model(store, family, **sight), store)


@pytest.mark.parametrize("context", ["label", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_target_may_not_read_leaves_its_logit_as_it_is(lora_model, store, family, context):
    """Bitwise, as the shapes stay: another place of the kept states for an interaction that a probe may not read."""
    model = lora_model(store, family, context=context)
    catalogue.give_states(model, store, 40, "fp32")
    row = build_unique(store, stream_prompts(store, "train", "all"))
    with torch.no_grad():
        before = model(row)
        for probe in (4, 20, 40):
            hidden = sorted(set(range(row.tokens_S.size)) - readable(row, probe, 3))
            places = row.place_S.copy()
            places[hidden] = np.roll(places[hidden], 1)
            after = model(replace(row, place_S=places))
            assert after[probe] == before[probe]
            assert not torch.equal(after, before)


def test_the_adapter_acts_on_probes_alone(lora_model, store):
    """Without an adapter frozen and trained content are one; with it they are not."""
    frozen, trained = lora_model(store), lora_model(store, content="trained")
    catalogue.give_states(frozen, store, 40, "fp32")
    prompts = stream_prompts(store, "train", "all")

    def gap():
        scores = [logits_of(model, store, prompts, 10_000, "test") for model in (frozen, trained)]
        return np.abs(scores[0] - scores[1]).max()

    assert gap() > 1e-3
    with frozen.backbone.disable_adapter(), trained.backbone.disable_adapter():
        assert gap() < 1e-5


@pytest.mark.parametrize("k", [1, 5, "all"])
def test_frozen_logits_do_not_depend_on_k_or_on_passes(lora_model, store, k):
    model = lora_model(store)
    catalogue.give_states(model, store, 40, "fp32")
    expected = logits_of(model, store, stream_prompts(store, "train", 1), 10_000, "test")
    found = logits_of(model, store, stream_prompts(store, "train", k), 30, "test")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_states_are_kept_and_made_anew_for_another_base(lora_model, store, monkeypatch, capsys):
    model = lora_model(store)
    catalogue.give_states(model, store, 40, "fp32")
    tokens = store.catalogue.size
    assert f"catalogue: {tokens:,} tokens" in capsys.readouterr().out
    assert model.states.shape.bytes == 2 * 3 * tokens * 2 * 8 * 4
    computed = []
    monkeypatch.setattr(catalogue, "compute", lambda *args: computed.append(1))
    monkeypatch.setattr(catalogue, "write_states", lambda *args: None)
    catalogue.give_states(lora_model(store), store, 40, "fp32")
    assert computed == []
    other = lora_model(store)
    with torch.no_grad():
        other.stock.get_decoder().layers[0].self_attn.v_proj.base_layer.weight.mul_(1.01)
    with pytest.raises(OSError, match="No such file"):
        catalogue.give_states(other, store, 40, "fp32")
    assert computed == [1]


def test_frozen_content_needs_its_states(lora_model, store):
    with pytest.raises(ValueError, match="needs the catalogue's states"):
        lora_model(store)(build_unique(store, stream_prompts(store, "train", "all")))


def test_half_precision_states_take_half_the_space(lora_model, store):
    model = lora_model(store)
    catalogue.give_states(model, store, 40, "bf16")
    assert model.states.shape.dtype == "bfloat16"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model(build_unique(store, stream_prompts(store, "train", "all")))
    catalogue.give_states(model, store, 40, "fp32")
    expected = torch.from_numpy(logits_of(model, store, stream_prompts(store, "train", "all"), 10_000, "test"))
    assert torch.corrcoef(torch.stack([found.double(), expected]))[0, 1] > 0.98


def test_the_last_used_catalogues_are_kept(tmp_path):
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        os.utime(tmp_path / str(number), (number, 100 - number))
    (tmp_path / ".5.1.partial").mkdir()
    catalogue._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_other_settings_of_the_same_weights_are_another_base(lora_model, store):
    keys = []
    for change in ({}, {"rms_norm_eps": 1e-3}):
        model = lora_model(store)
        model.stock.config.update(change)
        keys.append(catalogue.key_of(model, store.catalogue, "fp32"))
    assert keys[0] != keys[1]


def test_a_catalogue_with_a_file_missing_is_made_again(lora_model, store, tmp_path):
    model = lora_model(store)
    catalogue.give_states(model, store, 40, "fp32")
    expected = model.states.keys.clone()
    (file,) = tmp_path.glob("catalogues/*/keys.bin")
    file.unlink()
    catalogue.give_states(model, store, 40, "fp32")
    assert torch.equal(model.states.keys, expected)


def test_half_precision_states_serve_a_pass_without_autocast(lora_model, store):
    """A pass may compute otherwise than the one that kept them."""
    model = lora_model(store)
    catalogue.give_states(model, store, 40, "bf16")
    assert np.isfinite(logits_of(model, store, stream_prompts(store, "train", "all"), 10_000, "test")).all()


def test_a_second_process_waits_for_the_first_to_make_the_states(lora_model, store, monkeypatch, capsys):
    models = [lora_model(store) for _ in range(2)]
    computing, computed = threading.Event(), []
    compute = catalogue.compute

    def slowly(*args):
        computed.append(1)
        computing.set()
        time.sleep(0.3)
        yield from compute(*args)

    monkeypatch.setattr(catalogue, "compute", slowly)
    first = threading.Thread(target=catalogue.give_states, args=(models[0], store, 40, "fp32"))
    first.start()
    computing.wait()
    catalogue.give_states(models[1], store, 40, "fp32")
    first.join()
    assert computed == [1]
    assert "another process makes one; waiting" in capsys.readouterr().out
    assert torch.equal(models[0].states.keys, models[1].states.keys)
