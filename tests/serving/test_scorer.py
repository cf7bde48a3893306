"""Scores are those of ``evaluate``, whatever else is asked for at the same time."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft.tuners.lora import LoraLayer

from dti.attention.forgetting import Forgetting
from dti.model.adapter import load
from dti.model.catalogue import give_states
from dti.model.scoring import logits_of, probability
from dti.prompts.packing import serving_prompts
from dti.serving.scorer import Scorer

FROZEN = {"tuning": "lora", "content": "frozen"}
KINDS = {
    "isolated local label": {},
    "isolated local all": {"context": "all"},
    "isolated alibi label": {"probe_position": "alibi"},
    "isolated rope label": {"probe_position": "rope"},
    "isolated rope all": {"probe_position": "rope", "context": "all"},
    "isolated profile": {"profile": True},
    "isolated rope profile": {"probe_position": "rope", "profile": True},
    "isolated instruction": {"instruction": "tall lamp", "profile": True},
    "isolated ratings": {"ratings": True},
    "isolated item tokens": {"item_tokens": True},
    "isolated slopes": {"slopes": "learned"},
    "isolated probe tokens": {"probe_tokens": 3},
    "isolated lora": {"tuning": "lora"},
    "isolated lora ratings": {"tuning": "lora", "ratings": True, "context": "all"},
    "frozen": FROZEN,
    "frozen all alibi": FROZEN | {"context": "all", "probe_position": "alibi"},
    "frozen profile": FROZEN | {"profile": True},
    "frozen ratings": FROZEN | {"ratings": True},
    "frozen probe tokens": FROZEN | {"probe_tokens": 3},
    "frozen slopes": FROZEN | {"slopes": "learned"},
    "window rope all": {"policy": "window", "probe_position": "rope", "context": "all"},
    "window rope label": {"policy": "window", "probe_position": "rope"},
    "window local all": {"policy": "window", "context": "all"},
    "window alibi label": {"policy": "window", "probe_position": "alibi"},
    "window profile": {"policy": "window", "context": "all", "profile": True},
    "window probe tokens": {"policy": "window", "context": "all", "probe_tokens": 2},
    "window slopes": {"policy": "window", "context": "all", "slopes": "learned"},
    "window ratings lora": {"policy": "window", "context": "all", "ratings": True, "tuning": "lora"},
    "window reset": {
        "policy": "window",
        "context": "all",
        "probe_position": "rope",
        "forgetting": Forgetting("linear", 0.7, "both"),
    },
}


def scored_by_evaluate(project):
    """Each test target's user, place in the history, item and score, on serving prompts."""
    frozen = project.sight.content == "frozen"
    folder = project.root / "models" / "adapter"
    model, _ = load(folder, "blocks", torch.device("cpu"), "unique" if frozen else "stream")
    give_states(model, project.store, 1000, "fp32")
    prompts = serving_prompts(project.store, "test")
    return prompts, probability(logits_of(model, project.store, prompts, 1000, "test"))


def request_of(project, place, candidates=None):
    """The request whose first candidate is the interaction at ``place`` of the only shard."""
    shard, store = project.store.shards[0], project.store
    first = place - shard.order[place]
    levels = {token: float(rating) for rating, token in store.meta.tokens.ratings.items()}
    label = (
        levels.get if store.meta.context_labels == "rating" else {store.meta.tokens.no: 0, store.meta.tokens.yes: 1}.get
    )
    history = [
        {"item_id": store.item_ids[shard.item[i]].as_py(), "label": label(int(shard.context_label[i]))}
        for i in range(first, place)
    ]
    request = {"history": history, "candidates": [store.item_ids[shard.item[place]].as_py(), *(candidates or [])]}
    if store.meta.profile:
        user = shard.user[place]
        request["profile"] = {"age": f"{20 + user}", "town": "" if user % 2 else "Bonn"}
    return request


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_evaluate(project, kind):
    made = project(**KINDS[kind])
    prompts, expected = scored_by_evaluate(made)
    assert np.ptp(expected) > 0.05
    scorer = Scorer.open(made.write(), "cpu")
    rng = np.random.default_rng(0)
    others = [[f"i{i}" for i in rng.integers(0, 12, count)] for count in rng.integers(0, 6, len(prompts))]
    requests = [request_of(made, place, more) for place, more in zip(prompts.target_start, others, strict=True)]
    found = scorer.score(requests)
    assert [len(scores) for scores in found] == [len(request["candidates"]) for request in requests]
    np.testing.assert_allclose([scores[0] for scores in found], expected, atol=1e-5)


def test_frozen_contents_adapter_is_never_merged(project):
    """Content is the base model's alone: a merged adapter would change it, too."""
    scorer = Scorer.open(project(**FROZEN).write(), "cpu")
    layers = [part for part in scorer.model.backbone.modules() if isinstance(part, LoraLayer)]
    assert layers
    assert not any(layer.merged for layer in layers)


@pytest.mark.parametrize("own", [True, False])
def test_an_item_that_the_catalogue_does_not_know_is_read_by_its_text_alone(project, own):
    made = project(item_tokens=own)
    scorer = Scorer.open(made.write(), "cpu")
    history = [{"item_id": f"i{i}", "label": i % 2} for i in range(3)]
    asked = [{"history": history, "candidates": ["i3"]}]
    fields = pq.read_table(made.root / "data/interim/items.parquet").to_pylist()[3]
    del fields["item_id"]
    asked += [{"history": history, "candidates": [new], "items": {new: fields}} for new in ("new", "newer")]
    known, first, second = (float(scores[0]) for scores in scorer.score(asked))
    assert first == pytest.approx(second)
    assert (known != pytest.approx(first, abs=1e-4)) == own


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("kind", ["isolated local label", "frozen", "window rope all"])
def test_a_gpu_gives_the_same_scores(project, kind):
    made = project(**KINDS[kind])
    folder, new = made.write(), {"n1": {"title": "old lamp"}}
    requests = [{"history": [{"item_id": "i1", "label": 1}], "candidates": ["i2", "n1", "i3"], "items": new}] * 3
    found, expected = (Scorer.open(folder, device).score(requests) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-4)
