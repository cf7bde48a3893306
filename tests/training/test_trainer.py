"""What the loop keeps, when it ends early, and what it refuses to go on with."""

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from dti.errors import DtiError
from dti.model.adapter import load
from dti.model.catalogue import give_states
from dti.model.scoring import logits_of
from dti.params import load_params
from dti.prompts.packing import serving_prompts, stream_prompts
from dti.prompts.store import Store
from dti.training import trainer
from dti.training.run import key_of, sight_of, work_of
from dti.training.trainer import Trainer


@pytest.fixture
def scripted(monkeypatch):
    """``scripted(aucs)``: validation AUC after each epoch, whatever the model does."""

    def script(aucs):
        answers = iter(aucs)
        monkeypatch.setattr(Trainer, "_valid_scores", lambda self: (next(answers), 0.6))

    return script


def test_training_stops_when_validation_no_longer_improves(project, scripted, monkeypatch):
    scripted([0.6, 0.7, 0.65, 0.69, 0.9])
    run = project("patient", epochs=5, patience=2)
    run.train_here(monkeypatch)
    assert (run.report()["epochs"], run.report()["best_epoch"], run.report()["valid_auc"]) == (4, 2, 0.7)


def test_the_weights_of_the_best_epoch_are_kept(project, scripted, monkeypatch):
    scripted([0.7, 0.6])
    run = project("two", epochs=2, learning_rate=0.01)
    kept = []
    validate = Trainer._validate

    def spy(self):
        validate(self)
        kept.append({name: p.detach().clone() for name, p in self.model.backbone.named_parameters()})

    monkeypatch.setattr(Trainer, "_validate", spy)
    run.train_here(monkeypatch)
    saved = load_file(run.folder / "models" / "adapter" / "model.safetensors")
    first, last = kept
    assert all(tensor.equal(first[name]) for name, tensor in saved.items())
    assert not all(tensor.equal(last[name]) for name, tensor in saved.items())


def test_some_users_alone_are_trained_on_and_all_are_validated(project, monkeypatch):
    run = project("some", epochs=2, targets=50)  # seven targets a user
    run.train_here(monkeypatch)
    store = Store.open(run.folder / "data" / "packed")
    params = load_params(run.folder / "params.yaml")
    work = work_of(store, params.train, sight_of(params.attention, store.meta.n))
    assert run.report()["train_targets"] == 49 == work.training.targets.sum()
    assert run.report()["steps"] == 2 * 4
    assert work.validation.targets.sum() == 40
    other = work_of(store, params.train.model_copy(update={"seed": 2}), sight_of(params.attention, store.meta.n))
    assert np.array_equal(other.training.target_start, work.training.target_start), "the same users for every seed"


def test_patience_zero_never_stops_early(project, scripted, monkeypatch):
    scripted([0.9, 0.8, 0.7, 0.6])
    run = project("stubborn")
    run.train_here(monkeypatch)
    assert (run.report()["epochs"], run.report()["best_epoch"]) == (4, 1)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(project, monkeypatch):
    run = project("broken")
    steps = []
    monkeypatch.setattr(trainer, "backward", lambda model, row, count, precision: torch.tensor(torch.nan))
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: steps.append(1))
    with pytest.raises(DtiError, match="step 1: the loss is nan, .* lower train.learning_rate"):
        run.train_here(monkeypatch)
    assert steps == []


def test_losses_stay_on_the_device_and_add_up(project, monkeypatch):
    passes, steps = [], []
    backward, step = trainer.backward, Trainer._step

    def spy(model, row, count, precision):
        passes.append(backward(model, row, count, precision))
        return passes[-1]

    def first(self, batch):
        steps.append((step(self, batch), len(batch.rows)))
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "backward", spy)
    monkeypatch.setattr(Trainer, "_step", first)
    with pytest.raises(KeyboardInterrupt):
        project("passes", tokens_per_pass=64).train_here(monkeypatch)
    assert all(isinstance(loss, torch.Tensor) and loss.shape == () and not loss.requires_grad for loss in passes)
    assert steps == [(pytest.approx(sum(map(float, passes))), len(passes))]
    assert len(passes) > 1


def test_bf16_trains_and_keeps_logits_and_loss_in_float32(project, monkeypatch):
    seen = set()
    backward = trainer.backward

    def spy(model, row, count, precision):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            seen.add(model(row).dtype)
        return backward(model, row, count, precision)

    monkeypatch.setattr(trainer, "backward", spy)
    run = project("half", precision="bf16", epochs=1)
    run.train_here(monkeypatch)
    assert seen == {torch.float32}
    assert run.report()["valid_auc"] is not None


def test_activation_checkpointing_trains_the_same_weights_with_layers_computed_twice_in_large_passes(
    project, monkeypatch
):
    limits, calls, weights = (False, True, 100), [0, 0, 0], []
    forward = LlamaMLP.forward
    for place, limit in enumerate(limits):

        def count(self, x, place=place):
            calls[place] += torch.is_grad_enabled()
            return forward(self, x)

        monkeypatch.setattr(LlamaMLP, "forward", count)
        run = project(f"again {limit}", epochs=1, activation_checkpointing=limit)
        run.train_here(monkeypatch)
        weights.append(load_file(run.folder / "models" / "adapter" / "model.safetensors"))
    once, twice, some = calls
    assert twice == 2 * once > some > once
    assert all(tensor.equal(other[name]) for other in weights for name, tensor in weights[0].items())


def save_base(folder, packed, **config):
    """A small "pretrained" Llama that fits the packed data's tokenizer."""
    vocabulary = Store.open(packed).meta.vocabulary
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **sizes, **config)).save_pretrained(folder)


def test_overlapping_steps_train_all_targets_with_fewer_tokens(project, monkeypatch):
    reports = {}
    for composition in ("mixed", "overlapping"):
        run = project(composition, epochs=1, targets_per_step=32, composition=composition)
        run.set(attention={"layout": "unique"})
        run.train_here(monkeypatch)
        reports[composition] = run.report()
    assert {(report["train_targets"], report["steps"]) for report in reports.values()} == {(280, 9)}
    assert reports["overlapping"]["train_tokens"] < reports["mixed"]["train_tokens"]


@pytest.mark.parametrize("tied", [True, False])
def test_lora_on_a_pretrained_model_trains_resumes_and_continues(project, packed, tmp_path, monkeypatch, tied):
    save_base(tmp_path / "base", packed, tie_word_embeddings=tied)
    model = {"backbone": str(tmp_path / "base"), "tuning": "lora"}

    def run(name, **train):
        made = project(name, epochs=2, **train)
        made.set(model=model)
        return made

    whole, stopped = run("whole"), run("stopped")
    whole.train_here(monkeypatch)
    saved = Trainer._save
    monkeypatch.setattr(Trainer, "_validate", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stopped.train_here(monkeypatch)
    monkeypatch.undo()
    assert Trainer._save is saved
    stopped.train_here(monkeypatch)
    assert stopped.report()["resumed"] == 1
    file = "models/adapter/adapter_model.safetensors"
    left, right = load_file(whole.folder / file), load_file(stopped.folder / file)
    assert left.keys() == right.keys()
    assert all(left[name].equal(right[name]) for name in left)
    later = run("later", init_from=str(whole.folder / "models" / "adapter"), learning_rate=1e-9)
    later.train_here(monkeypatch)
    found = load_file(later.folder / file)
    assert max((left[name] - found[name]).abs().max() for name in left) < 1e-5
    assert max(tensor.abs().max() for name, tensor in left.items() if "lora_B" in name) > 1e-4, "something was learned"


def test_frozen_content_trains_and_scores_with_one_token_a_target(project, packed, tmp_path, monkeypatch):
    save_base(tmp_path / "base", packed)
    run = project("frozen", epochs=2, learning_rate=0.01)
    run.set(
        model={"backbone": str(tmp_path / "base"), "tuning": "lora"},
        attention={"layout": "unique", "content": "frozen"},
    )
    run.train_here(monkeypatch)
    report = run.report()
    assert (report["layout"], report["content"]) == ("unique", "frozen")
    assert report["train_tokens"] == report["train_targets"]
    store = Store.open(packed)
    assert report["catalogue_bytes"] == 2 * 2 * store.catalogue.size * 16 * 4
    assert len(list((run.folder / "home" / "catalogues").glob("[!.]*"))) == 1
    model, record = load(run.folder / "models" / "adapter", "blocks", torch.device("cpu"), "unique")
    assert record.sight.content == "frozen"
    give_states(model, store, 1000, "fp32")
    served = logits_of(model, store, serving_prompts(store, "test"), 1000, "test")
    streamed = logits_of(model, store, stream_prompts(store, "test", "all"), 1000, "test")
    assert abs(served - streamed).max() < 1e-5
    assert len(list((run.folder / "home" / "catalogues").glob("[!.]*"))) == 1, "the states of training serve scoring"


def test_frozen_content_trains_in_bf16(project, packed, tmp_path, monkeypatch):
    """Its states are kept in bf16, and validation reads them, too."""
    save_base(tmp_path / "base", packed)
    run = project("half frozen", epochs=1, precision="bf16")
    model = {"backbone": str(tmp_path / "base"), "tuning": "lora"}
    run.set(model=model, attention={"layout": "unique", "content": "frozen"})
    run.train_here(monkeypatch)
    assert run.report()["valid_auc"] is not None
    assert run.report()["catalogue_bytes"] == 2 * 2 * Store.open(packed).catalogue.size * 16 * 2


def test_lora_in_bf16_holds_its_base_so_and_its_adapter_loads_on_the_whole_base(project, packed, tmp_path, monkeypatch):
    save_base(tmp_path / "base", packed)
    run = project("half base", epochs=1, precision="bf16")
    run.set(model={"backbone": str(tmp_path / "base"), "tuning": "lora"})
    seen, scored = {}, trainer.logits_of

    def spy(model, *rest):
        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        seen["base"] = {layer.get_base_layer().weight.dtype for layer in layers}
        seen["logits"] = scored(model, *rest)
        return seen["logits"]

    monkeypatch.setattr(trainer, "logits_of", spy)
    run.train_here(monkeypatch)
    assert seen["base"] == {torch.bfloat16}
    model, _ = load(run.folder / "models" / "adapter", "blocks", torch.device("cpu"), "stream")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    store, params = Store.open(packed), load_params(run.folder / "params.yaml")
    work = work_of(store, params.train, model.sight)
    whole = logits_of(model, store, work.validation, params.train.tokens_per_pass, "validation")
    assert 0 < abs(seen["logits"] - whole).max() < 0.05 * whole.std() + 0.01


def test_another_base_at_the_same_path_is_another_run(project, packed, tmp_path):
    save_base(tmp_path / "base", packed)
    run = project("based")
    run.set(model={"backbone": str(tmp_path / "base"), "tuning": "lora"})
    store, params = Store.open(packed), load_params(run.folder / "params.yaml")
    before = key_of(store, params)
    assert key_of(store, params) == before
    save_base(tmp_path / "base", packed, rms_norm_eps=1e-3)
    assert key_of(store, params) != before
