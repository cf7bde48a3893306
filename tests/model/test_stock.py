"""The plug-in against stock Hugging Face attention."""

import re

import pytest
import torch

from dti.attention.families import FAMILIES, REFUSED
from dti.attention.masks import mask_of
from dti.attention.plugin import attach
from dti.attention.visibility import view_of
from dti.errors import DtiError
from dti.model.scoring import logits_of
from dti.prompts.build import build_row
from dti.prompts.packing import serving_prompts, stream_prompts


def check_against_stock(store, model, stock):
    """Both models have the same weights; the stock one gets the whole visibility as a dense mask.

    It computes every layer for all tokens, so what the last layer leaves out is checked, too: logits and gradients.
    """
    row = build_row(store, stream_prompts(store, "train", 5))
    view = view_of(row, model.sight)
    stock.eval().set_attn_implementation("eager")
    bias = torch.zeros(mask_of(view).shape).masked_fill(~mask_of(view), -1e30)
    tokens = torch.cat([torch.from_numpy(row.tokens_S), torch.full((view.probes,), model.tokens.sum)])
    positions = torch.cat([view.position_S, view.query_position_K])
    logits = stock(
        input_ids=tokens[None], attention_mask=bias[None, None], position_ids=positions[None], use_cache=False
    ).logits[0, view.content + view.probe_tokens - 1 :: view.probe_tokens]
    expected, found = logits[:, model.tokens.yes] - logits[:, model.tokens.no], model(row)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for out in (expected, found):
        (out * torch.linspace(-1, 2, out.numel())).sum().backward()
    weights = dict(stock.named_parameters())
    for name, weight in model.stock.named_parameters():
        scale = weights[name].grad.abs().max()
        torch.testing.assert_close(weight.grad / scale, weights[name].grad / scale, atol=1e-4, rtol=0, msg=name)


SIGHT = {"policy": "window", "probe_position": "rope", "context": "all", "n": 3}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_rope_probes_equal_stock_attention_with_a_dense_mask(store, backbone, ctr_model, family, backend):
    check_against_stock(store, ctr_model(family, backend=backend, **SIGHT), backbone(family))


@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_several_probe_tokens_equal_stock_attention_with_a_dense_mask(store, backbone, ctr_model, backend):
    check_against_stock(store, ctr_model(backend=backend, probe_tokens=3, **SIGHT), backbone())


def test_rope_counts_places_from_the_first_token_of_a_prefix(make_store, backbone, ctr_model):
    """A prompt of one target, its probe as last token, is what the stock model reads; only the probe reads a prefix."""
    history = [(i % 4, i % 2) for i in range(9)]
    store = make_store([history] * 2, ["red lamp", "chair", "old", "blue"], n=3, k=1, profiles=["young man", "old"])
    model, stock = ctr_model(**SIGHT), backbone().eval()
    stock.set_attn_implementation("eager")
    prompts = serving_prompts(store, "train")
    for place, found in enumerate(logits_of(model, store, prompts, 10_000, "test")):
        row = build_row(store, prompts.take(slice(place, place + 1)))
        tokens = torch.tensor([*row.tokens_S, model.tokens.sum])[None]
        mask = torch.ones(tokens.numel(), tokens.numel()).tril().bool()
        prefix = int(row.prefix_stop_P[0])
        assert prefix > 0
        mask[prefix:-1, :prefix] = False
        with torch.no_grad():
            logits = stock(tokens, attention_mask=(~mask * -1e30)[None, None], use_cache=False).logits[0, -1]
        assert abs(float(logits[model.tokens.yes] - logits[model.tokens.no]) - found) < 1e-5


def test_one_key_head_has_one_norm(store, backbone, ctr_model):
    one = {"num_key_value_heads": 1}
    check_against_stock(store, ctr_model("qwen3", extra=one, **SIGHT), backbone("qwen3", **one))


@pytest.mark.parametrize("family", ["mistral", "qwen2", "qwen3", "smollm3"])
def test_a_configured_sliding_window_gives_way_to_the_visibility(store, backbone, ctr_model, family):
    extra = {} if family == "mistral" else {"use_sliding_window": True}
    extra |= {"max_window_layers": 0} if family.startswith("qwen") else {}
    extra["sliding_window"] = 2
    check_against_stock(store, ctr_model(family, extra=extra, **SIGHT), backbone(family))


@pytest.mark.parametrize("policy", ["window", "isolated"])
@pytest.mark.parametrize("position", ["rope", "alibi", "local"])
def test_layers_without_positions_rotate_neither_content_nor_probes(ctr_model, store, position, policy):
    row = build_row(store, stream_prompts(store, "train", "all"))
    gaps = []
    for rotating in (0, 1):
        layers = {"no_rope_layers": [rotating] * 3}
        model = ctr_model("smollm3", layers=3, policy=policy, probe_position=position, extra=layers)
        with torch.no_grad():
            before = model(row)
            model.rope.inverse_frequency *= 3
            gaps.append((model(row) - before).abs().max())
    assert gaps[0] == 0
    assert gaps[1] > 1e-3


def test_an_unsupported_family_is_refused_by_name(backbone):
    model = backbone()
    model.config.model_type = "gpt_neox"
    with pytest.raises(DtiError, match="'gpt_neox' is not supported; supported are llama"):
        attach(model)


@pytest.mark.parametrize(("family", "reason"), REFUSED.items())
def test_a_family_is_refused_with_the_reason(backbone, family, reason):
    model = backbone()
    model.config.model_type = family
    with pytest.raises(DtiError, match=re.escape(f"{family!r} is not supported ({reason}); supported are llama")):
        attach(model)


def test_length_dependent_rope_is_refused(backbone):
    parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(DtiError, match="'dynamic' depends on the length of the prompt"):
        attach(backbone(rope_parameters=parameters))


def test_a_forward_pass_without_a_reading_is_an_error(ctr_model):
    with pytest.raises(TypeError, match="reading"):
        ctr_model().stock(input_ids=torch.tensor([[5, 6, 7]]))
