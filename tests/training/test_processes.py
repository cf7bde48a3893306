"""Several processes train as one does: nothing lost, the same curve, and no process is left when one is killed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed
from transformers import LlamaConfig, LlamaForCausalLM

from dti.errors import DtiError
from dti.params import load_params
from dti.prompts.composition import epoch_steps
from dti.prompts.packing import Prompts, recut, training_prompts
from dti.prompts.row import ranges
from dti.prompts.store import Store
from dti.stages import train as stage
from dti.training.launch import launch
from dti.training.ranks import Ranks
from dti.training.run import key_of
from dti.training.share import batch_of, deal
from dti.training.trainer import Trainer

hypothesis = pytest.importorskip("hypothesis")  # a bare GPU machine has the core alone
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

DRY = {"layers": 2, "width": 16, "heads": 2, "dropout": 0.0, "vocabulary": 300}
"""No dropout: with it, each process draws its own."""


@pytest.fixture(scope="module")
def store(packed):
    return Store.open(packed)


def places(prompts):
    return ranges(prompts.target_start, prompts.targets).tolist()


@settings(max_examples=25, deadline=None)
@given(
    k=st.sampled_from([1, 2, 5, "all"]),
    targets=st.integers(1, 300),
    count=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_steps_are_dealt_out_with_nothing_lost_or_doubled(store, k, targets, count, seed):
    prompts = recut(store, training_prompts(store), k)
    for step in epoch_steps(store, prompts, targets, (seed, 0)):
        parts = deal(store, step, count)
        assert len(parts) == count
        assert sorted(np.concatenate(parts)) == list(range(len(step)))
        assert sorted(places(Prompts.join([step.take(part) for part in parts]))) == sorted(places(step))


@pytest.mark.parametrize("layout", ["stream", "unique"])
@pytest.mark.parametrize(("targets", "tokens"), [(1, 1000), (16, 30), (100, 200)])
def test_all_processes_make_as_many_passes_and_count_each_target_once(store, layout, targets, tokens):
    step = next(epoch_steps(store, training_prompts(store), targets, (1, 0)))
    batches = [batch_of(store, step, tokens, layout, Ranks(rank, 3)) for rank in range(3)]
    assert len({len(batch.rows) for batch in batches}) == 1
    counted = [row for batch in batches for row in batch.rows[: len(batch.rows) - batch.idle]]
    assert sum(row.target_K.size for row in counted) == targets == batches[0].targets
    assert min(batch.idle for batch in batches) == 0
    alone = batch_of(store, step, tokens, layout, Ranks())
    assert sum(row.answer_K.sum() for row in counted) == sum(row.answer_K.sum() for row in alone.rows)


def test_the_load_is_even_where_prompts_are_many(store):
    prompts = training_prompts(store)
    sizes = [prompts.take(part).targets.sum() for part in deal(store, prompts, 3)]
    assert max(sizes) - min(sizes) <= prompts.targets.max()


def test_processes_and_engine_name_no_other_run(project, store):
    one, two = project("one"), project("two", processes=2, engine="ddp")
    assert key_of(store, load_params(one.folder / "params.yaml")) == key_of(
        store, load_params(two.folder / "params.yaml")
    )


def curve(run):
    with (run.folder / "reports" / "history.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    return np.array([[float(row[name]) for name in ("epoch", "step", "targets", "train_loss")] for row in rows])


def dry(run, **train):
    run.set(model={"tiny": DRY}, train=train)
    return run


def same_result(one, other, file="model.safetensors"):
    """The same curve, metrics and weights, but for rounding (which AdamW's first steps make larger)."""
    np.testing.assert_allclose(curve(one), curve(other), rtol=1e-5)
    left, right = one.report(), other.report()
    for name in ("steps", "train_targets", "train_tokens", "best_epoch"):
        assert left[name] == right[name]
    assert left["valid_auc"] == pytest.approx(right["valid_auc"], abs=1e-6)
    assert left["valid_log_loss"] == pytest.approx(right["valid_log_loss"], abs=1e-5)
    weights = [load_file(run.folder / "models" / "adapter" / file) for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    return max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-4


def children(process):
    """The training processes of a stage: their numbers, by rank."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(p) for p in listed if "spawn_main" in Path(f"/proc/{p}/cmdline").read_text()]


def alive(number):
    """Whether the process runs: the dead leave their names behind until they are waited for."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def started(run, epochs=0):
    """A stage whose checkpoint says that so many epochs are finished."""
    process, deadline = run.start(), time.monotonic() + 400
    while run.epochs_done < epochs:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.fixture(scope="module")
def alone(project):
    """A run of one process."""
    run = dry(project("alone"))
    with pytest.MonkeyPatch.context() as patch:
        run.train_here(patch)
    return run


@pytest.mark.parametrize("engine", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_run_which_one_process_resumes(project, alone, monkeypatch, engine):
    run = dry(project("killed", processes=2, engine=engine))
    process = started(run, epochs=1)
    ranks = children(process)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "ERROR: train: process 1 of 2 (rank 1) was ended by SIGKILL" in output
    assert "the run goes on from its last checkpoint" in output
    assert not any(map(alive, ranks))
    assert not (run.folder / "models").exists()
    dry(run, processes=1, engine="single")
    run.train_here(monkeypatch)
    assert run.report()["resumed"] == 1
    assert same_result(run, alone)


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    store = distributed.FileStore(str(tmp_path / "meeting"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_an_engine_trains_and_resumes_as_none_does(group, project, alone, monkeypatch, engine):
    """Stopped behind a validation, whose passes gather weights that no backward pass parts again."""
    run = dry(project("engine", tokens_per_pass=64))
    monkeypatch.chdir(run.folder)
    monkeypatch.setenv("DTI_HOME", str(run.folder / "home"))
    params = load_params()
    params = params.model_copy(update={"train": params.train.model_copy(update={"engine": engine})})
    epoch = Trainer._epoch

    def stopping(self, asked):
        if self.state.epoch == 2 and not self.state.resumed:
            raise KeyboardInterrupt
        epoch(self, asked)

    monkeypatch.setattr(Trainer, "_epoch", stopping)
    with pytest.raises(KeyboardInterrupt):
        stage.work(Ranks(), params)
    stage.work(Ranks(), params)
    assert run.report()["resumed"] == 1
    assert same_result(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_two_processes_train_as_one(project, alone, engine):
    # Several passes a step in each, some of which compute their layers again.
    run = dry(project("two", processes=2, engine=engine, tokens_per_pass=64, activation_checkpointing=100))
    code, output = run.train()
    assert code == 0, output
    assert same_result(run, alone)
    assert (run.report()["processes"], run.report()["engine"]) == (2, engine)
    assert output.count("epoch 4: validation AUC") == 1, "one process speaks for all"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
@pytest.mark.parametrize(("content", "precision"), [("trained", "fp32"), ("frozen", "fp32"), ("trained", "bf16")])
def test_two_processes_train_an_adapter_as_one(project, packed, tmp_path, monkeypatch, engine, content, precision):
    """In bf16 the base's matrices are bf16 beside an adapter in float32; sums over processes are rounded otherwise."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = LlamaConfig(vocab_size=Store.open(packed).meta.vocabulary, tie_word_embeddings=engine == "ddp", **sizes)
    LlamaForCausalLM(base).save_pretrained(tmp_path / "base")
    lora = {"r": 4, "alpha": 8, "dropout": 0.0}
    one, two = project("one", precision=precision), project("two", processes=2, engine=engine, precision=precision)
    for run in (one, two):
        run.set(model={"backbone": str(tmp_path / "base"), "tuning": "lora", "lora": lora})
        run.set(attention={"layout": "unique", "content": content})
    one.train_here(monkeypatch)
    code, output = two.train()
    assert code == 0, output
    file = "adapter_model.safetensors"
    if content == "trained":  # shared items are encoded once in each process
        assert two.report()["train_tokens"] >= one.report()["train_tokens"]
    rounding = {"fp32": 1, "bf16": 100}[precision]
    np.testing.assert_allclose(curve(two), curve(one), rtol=1e-5 * rounding)
    left, right = (load_file(run.folder / "models" / "adapter" / file) for run in (one, two))
    assert left.keys() == right.keys()
    assert max(float((left[name] - right[name]).abs().max()) for name in left) < 1e-4 * rounding
    assert two.report()["trained_parameters"] == one.report()["trained_parameters"]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three stages, seven processes
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_two_processes_stop_when_asked_and_take_up_what_one_began(project, alone, monkeypatch, engine):
    run = dry(project("asked"))
    process = started(run)
    process.kill()
    process.communicate()
    dry(run, processes=2, engine=engine)
    process = started(run, epochs=2)
    ranks = children(process)
    process.terminate()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "resumed at epoch" in output
    assert not any(map(alive, ranks))
    code, output = run.train()
    assert code == 0, output
    assert run.report()["resumed"] == 2
    assert same_result(run, alone)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_two_gpus_train_as_one_process_on_the_cpu(project, alone, engine):
    run = dry(project("gpus"), processes=2, engine=engine, device="cuda")
    code, output = run.train()
    assert code == 0, output
    np.testing.assert_allclose(curve(run), curve(alone), rtol=1e-2)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DtiError, match="train.processes: 2, but this machine has 1 GPUs; lower it"):
        launch(print, 2, "cuda")


IDLE = """
import sys, time
from pathlib import Path
from dti.training.launch import launch

def work(ranks, folder):
    (folder / str(ranks.rank)).touch()
    time.sleep(500)

if __name__ == "__main__":
    launch(work, 2, "cpu", Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_starter_leaves_no_process_behind(tmp_path):
    (tmp_path / "idle.py").write_text(IDLE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, tmp_path / "idle.py", tmp_path], env=environment)
    deadline = time.monotonic() + 400
    while not (tmp_path / "0").exists() or not (tmp_path / "1").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ranks = children(process)
    assert len(ranks) == 2
    process.kill()
    process.wait()
    while any(map(alive, ranks)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_an_error_of_all_processes_is_reported_once(project):
    run = project("broken", processes=2, engine="ddp", init_from="nowhere")
    code, output = run.train()
    assert code == 1
    assert output.count("ERROR") == 1
    assert "nowhere" in output


def test_one_process_starts_no_other():
    seen = []
    launch(lambda ranks, word: seen.append((ranks.count, word, os.getpid())), 1, "cpu", "here")
    assert seen == [(1, "here", os.getpid())]
