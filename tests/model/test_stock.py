"""The plug-in against stock Hugging Face attention."""

import pytest
import torch

from dti.attention.plugin import FAMILIES, attach
from dti.attention.visibility import Sight, mask_of, view_of
from dti.errors import DtiError
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["reference", "blocks"])
def test_rope_probes_equal_stock_attention_with_a_dense_mask(store, backbone, ctr_model, family, backend):
    row = build_row(store, stream_prompts(store, "train", 5))
    sight = {"policy": "window", "probe_position": "rope", "context": "all", "n": 3}
    view = view_of(row, Sight(**sight))
    model = ctr_model(family, backend=backend, **sight)
    stock = backbone(family).eval()
    stock.set_attn_implementation("eager")
    bias = torch.zeros(mask_of(view).shape).masked_fill(~mask_of(view), -1e30)
    tokens = torch.cat([torch.from_numpy(row.tokens_S), torch.full((view.probes,), model.tokens.sum)])
    positions = torch.cat([view.position_S, view.query_position_K])
    with torch.no_grad():
        logits = stock(
            input_ids=tokens[None], attention_mask=bias[None, None], position_ids=positions[None], use_cache=False
        ).logits[0, view.content :]
        expected = logits[:, model.tokens.yes] - logits[:, model.tokens.no]
        torch.testing.assert_close(model(row), expected, atol=1e-5, rtol=1e-5)


def test_an_unsupported_family_is_refused_by_name(backbone):
    model = backbone()
    model.config.model_type = "gpt_neox"
    with pytest.raises(DtiError, match="'gpt_neox' is not supported; supported are llama"):
        attach(model)


def test_length_dependent_rope_is_refused(backbone):
    parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(DtiError, match="'dynamic' depends on the length of the prompt"):
        attach(backbone(rope_parameters=parameters))


def test_a_forward_pass_without_a_reading_is_an_error(ctr_model):
    with pytest.raises(TypeError, match="reading"):
        ctr_model().stock(input_ids=torch.tensor([[5, 6, 7]]))
