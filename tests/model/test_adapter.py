"""What is saved loads again: trained whole or by LoRA, safetensors alone, nothing else is read."""

from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dti.attention.families import FAMILIES
from dti.attention.forgetting import Forgetting
from dti.attention.visibility import Sight
from dti.errors import DtiError
from dti.model.adapter import FORMAT, Record, load, read_record, save
from dti.model.backbone import digest, halve_frozen, pretrained, with_lora
from dti.model.catalogue import give_states
from dti.model.ctr import CtrModel
from dti.model.scoring import logits_of
from dti.params import Lora
from dti.prompts.build import build_row
from dti.prompts.packing import stream_prompts

SIGHT = Sight("window", "local", "all", 3, Forgetting("linear", 0.5, "both"))
CPU = torch.device("cpu")


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def base(request, tmp_path, backbone):
    """A pretrained model's folder; small models often share input and output embeddings."""
    folder = tmp_path / "base"
    backbone(tie_word_embeddings=request.param).save_pretrained(folder)
    return folder


@pytest.fixture
def saved(tmp_path, base, store):
    """``saved(tuning, sight=..., layers=...)``: an adapter's folder and its model."""

    def make(tuning, sight=SIGHT, layers=None):
        model = pretrained(str(base), None)
        if tuning == "lora":
            model = with_lora(model, Lora(r=4, alpha=8, dropout=0.0, layers=layers), store.meta.tokens.sum)
            torch.manual_seed(1)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(0.1 * torch.randn_like(parameter))
        ctr = CtrModel(model, store.meta.tokens, sight, "blocks").eval()
        if ctr.slopes is not None:
            with torch.no_grad():
                for number, slopes in enumerate(ctr.slopes):
                    slopes.add_(0.1 * number)
        meta = store.meta
        settings = (
            str(base),
            None,
            tuning,
            {"r": 4},
            sight,
            meta.tokens,
            "binary",
            False,
            5,
            1,
            meta.dataset,
            meta.digest,
        )
        save(
            tmp_path / "adapter",
            ctr,
            Record(FORMAT, *settings, base_digest=digest(str(base))),
            store.folder / "tokenizer",
        )
        return tmp_path / "adapter", ctr

    return make


LEARNED = Sight("isolated", "local", "label", 3, slopes="learned")
FROZEN = Sight("isolated", "local", "label", 3, content="frozen")
SEVERAL = Sight("isolated", "local", "label", 3, probe_tokens=3)


@pytest.mark.parametrize(("tuning", "sight"), [*product(["full", "lora"], [SIGHT, LEARNED, SEVERAL]), ("lora", FROZEN)])
def test_a_saved_adapter_scores_the_same(saved, store, tuning, sight, tmp_path, monkeypatch):
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    folder, model = saved(tuning, sight)
    model.layout = "unique" if sight.content == "frozen" else "stream"
    prompts = stream_prompts(store, "train", "all")
    loaded, record = load(folder, "blocks", CPU, model.layout)
    assert record.sight == sight
    assert (folder / "slopes.safetensors").is_file() == (sight.slopes == "learned")
    scores = []
    for one in (loaded, model):
        give_states(one, store, 10_000, "fp32")
        scores.append(logits_of(one, store, prompts, 10_000, "test"))
    np.testing.assert_array_equal(*scores)


def test_lora_trains_the_probe_and_little_else(saved):
    folder, model = saved("lora")
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert any("trainable_tokens" in name and size == 32 for name, size in trained.items())
    assert all("lora_" in name or "trainable_tokens" in name for name in trained)
    assert not any("lm_head" in name for name in trained)
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "dti.json",
        "tokenizer",
    ]
    written = load_file(folder / "adapter_model.safetensors")
    assert [name for name in written if "lora_" not in name] == [
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    ]
    assert sum(tensor.numel() for tensor in written.values()) == sum(trained.values())


def test_every_lora_weight_gets_a_gradient(saved, store):
    _, model = saved("lora")
    model.train()
    model(build_row(store, stream_prompts(store, "train", 5))).sum().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_begins_as_the_backbone_and_trains_in_every_family(ctr_model, backbone, store, family):
    """Every linear layer but the head gets an adapter, and of the embeddings [SUM]'s row alone is trained."""
    tokens = store.meta.tokens
    plain = ctr_model(family, tokens=tokens)
    lora = with_lora(backbone(family), Lora(r=2, alpha=4, dropout=0.0, layers=None), tokens.sum)
    model = CtrModel(lora, tokens, plain.sight, "blocks")
    row = build_row(store, stream_prompts(store, "train", 5))
    out = model(row)
    torch.testing.assert_close(out, plain(row), atol=1e-5, rtol=1e-5)
    (out * torch.linspace(-1, 1, out.numel())).sum().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    (probe,) = [p for name, p in trained.items() if "trainable_tokens" in name]
    assert probe.shape == (1, 32)
    assert probe.grad.abs().max() > 1e-4
    grown = [name for name, p in trained.items() if "lora_B" in name and p.grad.abs().sum() > 0]
    assert len(grown) == 2 * 7, "two layers of q, k, v, o, gate, up and down"
    assert len(trained) == 2 * len(grown) + 1


def test_the_last_layers_alone_are_adapted_saved_and_loaded(saved, store):
    folder, model = saved("lora", layers=1)
    adapted = {name.split(".layers.")[1][0] for name, _ in model.named_parameters() if "lora_" in name}
    assert adapted == {"1"}, "of two layers"
    row = build_row(store, stream_prompts(store, "train", 5))
    torch.testing.assert_close(load(folder, "blocks", CPU)[0](row), model(row))
    halve_frozen(model.backbone)
    kinds = {p.dtype for name, p in model.named_parameters() if "proj" in name and "lora_" not in name}
    assert kinds == {torch.bfloat16}, "of layers without an adapter, too"


def test_more_layers_than_there_are_cannot_be_adapted(saved):
    with pytest.raises(DtiError, match=r"model\.lora\.layers: 3, but the backbone has 2; lower it, or set null"):
        saved("lora", layers=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_of_any_family_loads_as_it_was_saved(ctr_model, backbone, store, family, tmp_path):
    backbone(family).save_pretrained(tmp_path)
    plain = ctr_model(family, tokens=store.meta.tokens)
    model = CtrModel(pretrained(str(tmp_path), None), store.meta.tokens, plain.sight, "blocks")
    prompts = stream_prompts(store, "train", 5)
    np.testing.assert_array_equal(
        logits_of(model, store, prompts, 10_000, "loaded"), logits_of(plain, store, prompts, 10_000, "saved")
    )


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_weights_in_a_pickle_are_not_read(saved, tuning):
    folder, _ = saved(tuning)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    torch.save({"weight": torch.zeros(1)}, folder / "adapter_model.bin")
    with pytest.raises(DtiError, match="weights load from safetensors only"):
        load(folder, "blocks", CPU)


def test_a_pickled_base_is_not_read(base):
    (base / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, base / "pytorch_model.bin")
    with pytest.raises(DtiError, match="cannot load"):
        pretrained(str(base), None)


def test_a_missing_folder_and_a_foreign_record_are_named(tmp_path):
    with pytest.raises(DtiError, match=r"no folder ./nowhere"):
        pretrained("./nowhere", None)
    (tmp_path / "dti.json").write_text('{"format": 0}')
    with pytest.raises(DtiError, match="format 0, but this code reads 1"):
        read_record(tmp_path)


def test_an_adapter_is_refused_on_another_base(saved, base):
    folder, _ = saved("lora")
    (base / "config.json").write_text((base / "config.json").read_text().replace("1e-06", "1e-05"))
    with pytest.raises(DtiError, match="was trained on another model than lies at"):
        load(folder, "blocks", CPU)
