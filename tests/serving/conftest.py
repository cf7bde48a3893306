"""Bundles of every kind of adapter, made from small random models."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from dti.attention.visibility import Sight
from dti.model.adapter import FORMAT, Record, save
from dti.model.backbone import digest, pretrained
from dti.model.ctr import CtrModel
from dti.prompts.pack import pack
from dti.prompts.store import Store
from dti.prompts.tokenizer import train_tiny
from dti.serving.bundle import write_bundle
from tests.model.outcome import stirred

WORDS = ["red", "blue", "old", "lamp", "chair", "bed", "tall", "round"]
USERS, ITEMS, LENGTH = 6, 12, 14


def random_llama(vocabulary, seed=0):
    """A random model of width 32, with weights large enough to matter."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4) if parameter.ndim == 2 else parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def write_base(folder):
    """A pretrained model's folder, as one might download it: weights and a tokenizer with Yes, No and a spare token."""
    tokenizer = train_tiny([*WORDS, "Yes No"] * 3, 300, [])
    tokenizer.add_tokens(["No", "Yes", *"12345"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved_special_token_0|>"]})
    tokenizer.save_pretrained(folder)
    random_llama(len(tokenizer)).save_pretrained(folder)
    return tokenizer


def lora_of(base, token):
    """The base with an adapter that does something."""
    config = LoraConfig(r=4, target_modules="all-linear", trainable_token_indices=[token], task_type="CAUSAL_LM")
    return stirred(get_peft_model(pretrained(str(base), None), config))


class Project:
    """A project's folder after training, and what its bundle should score."""

    def __init__(self, root, params, sight, texts):
        self.root, self.params, self.sight, self.texts = root, params, sight, texts
        self.store = Store.open(root / "data" / "packed")

    def write(self, name="bundle"):
        folder = self.root / name
        write_bundle(self.root, self.params, folder)
        return folder


@pytest.fixture
def project(tmp_path, interim, params_for, monkeypatch):
    """``project(tuning="full", ratings=False, profile=False, instruction=None, item_tokens=False, **sight)``."""
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def make(tuning="full", ratings=False, profile=False, instruction=None, item_tokens=False, name="project", **sight):
        root = tmp_path / name
        sight = Sight(**({"policy": "isolated", "probe_position": "local", "context": "label", "n": 5} | sight))
        rng = np.random.default_rng(4)
        items = [{"title": " ".join(rng.choice(WORDS, rng.integers(1, 5))), "brand": None} for _ in range(ITEMS)]
        items[3]["brand"] = "acme"
        drawn = [[(int(rng.integers(ITEMS)), int(rng.integers(1, 6))) for _ in range(LENGTH)] for _ in range(USERS)]
        source = interim(
            root / "data" / "interim",
            [[(item, int(stars > 3)) for item, stars in history] for history in drawn],
            items,
            splits=[["train"] * 6 + ["test"] * 8] * USERS,
            ratings=[[float(stars) for _, stars in history] for history in drawn] if ratings else None,
            users=[{"age": f"{20 + u}", "town": "" if u % 2 else "Bonn"} for u in range(USERS)],
        )
        params = params_for(
            vocabulary=320,
            template={"item": "{title} by {brand}", "profile": "{age}, {town}"},
            n=sight.n,
            k=1,
            profile=profile,
            instruction=instruction,
            item_tokens=item_tokens,
            context_labels="rating" if ratings else "binary",
        )
        base = tmp_path / "base"
        if tuning == "lora":
            if not base.exists():
                write_base(base)
            changed = params.model.model_copy(update={"backbone": str(base), "tuning": "lora"})
            params = params.model_copy(update={"model": changed})
        pack(params, source, root / "data" / "packed")
        store = Store.open(root / "data" / "packed")
        tokens = store.meta.tokens
        backbone = lora_of(base, tokens.sum) if tuning == "lora" else random_llama(store.meta.vocabulary)
        model = CtrModel(backbone, tokens, sight, "blocks")
        if model.slopes is not None:
            with torch.no_grad():
                for slopes in model.slopes:
                    slopes.mul_(1.5)
        record = Record(
            format=FORMAT,
            backbone=params.model.backbone,
            revision=None,
            tuning=tuning,
            shape={},
            sight=sight,
            tokens=tokens,
            context_labels=store.meta.context_labels,
            profile=profile,
            k=1,
            seed=1,
            dataset="demo",
            packed_digest=store.meta.digest,
            instruction=instruction,
            base_digest=digest(params.model.backbone),
        )
        save(root / "models" / "adapter", model, record, store.folder / "tokenizer")
        return Project(root, params, sight, items)

    return make
