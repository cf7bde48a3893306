"""A base in 8 or 4 bits: refused where it cannot run, before any work; the bits themselves need a GPU."""

from importlib.util import find_spec

import pytest
import torch

from dti.errors import DtiError
from dti.model import backbone
from dti.model.backbone import check_quantisation, pretrained, with_lora
from dti.model.ctr import CtrModel
from dti.params import Lora
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts


def test_a_machine_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DtiError, match="model.quantisation: 4bit needs a GPU, and this machine has none; set none"):
        check_quantisation("4bit")
    check_quantisation("none")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backbone, "find_spec", lambda name: None)
    with pytest.raises(DtiError, match="needs the package bitsandbytes; install it with `pip install bitsandbytes`"):
        check_quantisation("8bit")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_an_adapter_on_few_bits_gets_gradients_near_those_on_the_whole_base(bits, ctr_model, store, tmp_path):
    whole = ctr_model()
    whole.stock.save_pretrained(tmp_path)
    row = build_row(store, stream_prompts(store, "train", 5))
    logits = []
    for form in ("none", bits):
        torch.manual_seed(0)
        base = with_lora(
            pretrained(str(tmp_path), None, form), Lora(r=4, alpha=8, dropout=0.0, layers=None), whole.tokens.sum
        )
        model = CtrModel(base, whole.tokens, whole.sight, "blocks").to(torch.device("cuda"))
        logits.append(model(row))
        logits[-1].sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert torch.corrcoef(torch.stack(logits).detach())[0, 1] > 0.9
