"""Small random language models of every supported family."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from dti.attention.visibility import Sight
from dti.model.ctr import CtrModel
from dti.prompts.store import TokenIds
from tests.model.outcome import stirred

FAMILY_EXTRAS = {"smollm3": {"no_rope_layer_interval": 2}}  # its even layers rotate, its odd ones do not
TOKENS = TokenIds(no=3, yes=4, sum=2, pad=0, empty=1)


def random_backbone(family="llama", layers=2, vocabulary=400, **extra):
    """A random model of width 32 with 4 heads that share 2 key/value heads.

    Its weights are large enough to matter; norms and biases are moved from the ones and zeros that they start as.
    """
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = AutoConfig.for_model(
        family,
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        pad_token_id=0,
        **(heads | FAMILY_EXTRAS.get(family, {}) | extra),
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
            else:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def backbone():
    """``backbone(family, layers=2, ...)``: a random Hugging Face model."""
    return random_backbone


@pytest.fixture
def adapted():
    """``adapted(store, family="llama", layers=3)``: a random model with a LoRA adapter that does something."""

    def make(store, family="llama", layers=3):
        config = LoraConfig(r=4, target_modules="all-linear", trainable_token_indices=[store.meta.tokens.sum])
        return stirred(get_peft_model(random_backbone(family, layers), config))

    return make


@pytest.fixture
def ctr_model(flex_on_cpu):
    """``ctr_model(family="llama", layers=2, backend="blocks", tokens=..., extra={}, **sight) -> CtrModel``."""

    def make(family="llama", layers=2, backend="blocks", tokens=TOKENS, extra=None, **sight):
        reading = Sight(**{"policy": "isolated", "probe_position": "local", "context": "label", "n": 3} | sight)
        return CtrModel(random_backbone(family, layers, **extra or {}), tokens, reading, backend).eval()

    return make


def some_store(make_store, lengths, **pack):
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(["red", "blue", "lamp", "chair", "old"], rng.integers(1, 6))) for _ in range(12)]
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(length)] for length in lengths]
    return make_store(histories, texts, n=3, k=5, **pack)


@pytest.fixture
def store(make_store):
    """Five users with histories of 1 to 60 interactions over twelve items."""
    return some_store(make_store, (1, 3, 12, 40, 60))


@pytest.fixture
def store_for(make_store, store):
    """``store_for(backend)``: the store, or a small one for flex, which is dense on the CPU."""
    return lambda backend: some_store(make_store, (1, 8, 14)) if backend == "flex" else store
