"""A killed run goes on from its last checkpoint, and ends with the weights of one that was never killed."""

import os
import signal
import time

import pytest
from safetensors.torch import load_file

from dti.errors import DtiError
from dti.model.scoring import logits_of
from dti.training import trainer


def wait_for_checkpoint(project, process, epochs=0):
    """Until a checkpoint says that so many epochs are finished."""
    deadline = time.monotonic() + 120
    while project.epochs_done < epochs:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same_weights(one, other):
    left, right = (load_file(p.folder / "models" / "adapter" / "model.safetensors") for p in (one, other))
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


@pytest.fixture(scope="module")
def never_killed(project):
    whole = project("whole")
    code, output = whole.train()
    assert code == 0, output
    return whole


@pytest.mark.parametrize(("name", "epochs"), [("SIGKILL", 0), ("SIGKILL", 2), ("SIGTERM", 1)])
def test_a_stopped_run_resumes_to_the_same_weights(project, never_killed, name, epochs):
    """Killed in the first epoch, killed after two (the checkpoint holds best weights and history), asked to stop."""
    stopped = project("stopped")
    process = stopped.start()
    wait_for_checkpoint(stopped, process, epochs)
    os.kill(process.pid, getattr(signal, name))
    process.communicate(timeout=60)
    assert process.returncode == (-9 if name == "SIGKILL" else 130)
    assert not (stopped.folder / "models").exists()
    assert stopped.checkpoint is not None
    code, output = stopped.train()
    assert code == 0, output
    assert "resumed at epoch" in output
    assert same_weights(stopped, never_killed)
    assert stopped.checkpoint is None, "removed on success"
    report, whole = stopped.report(), never_killed.report()
    assert report["resumed"] == 1
    assert all(report[name] == whole[name] for name in ("steps", "train_tokens", "best_epoch", "valid_auc"))
    curves = [(p.folder / "reports" / "history.csv").read_text().splitlines() for p in (stopped, never_killed)]
    assert [line.split(",")[:3] for line in curves[0]] == [line.split(",")[:3] for line in curves[1]]


def test_a_stop_request_does_not_wait_for_the_end_of_validation(project, never_killed, monkeypatch):
    stopped = project("validating")
    scored = []

    def asked(model, store, prompts, tokens, what, stop):
        os.kill(os.getpid(), signal.SIGTERM)
        scored.append(logits_of(model, store, prompts, tokens, what, stop))

    monkeypatch.setattr(trainer, "logits_of", asked)
    with pytest.raises(KeyboardInterrupt):
        stopped.train_here(monkeypatch)
    assert scored == []
    assert stopped.epochs_done == 0, "validation has not ended, and is made again"
    monkeypatch.setattr(trainer, "logits_of", logits_of)
    stopped.train_here(monkeypatch)
    assert stopped.report()["resumed"] == 1
    assert same_weights(stopped, never_killed)


def test_a_second_process_on_the_same_run_is_refused(project, monkeypatch):
    shared = project("shared", epochs=500)
    first = shared.start()
    wait_for_checkpoint(shared, first)
    with pytest.raises(DtiError, match="another process trains with the same data"):
        shared.train_here(monkeypatch)
    first.kill()
    first.communicate()


def test_another_seed_is_another_run(project, never_killed, monkeypatch):
    other = project("other", seed=2)
    other.train_here(monkeypatch)
    assert not same_weights(other, never_killed)


def test_init_from_continues_an_adapter(project, never_killed, monkeypatch):
    start = never_killed.folder / "models" / "adapter"
    later = project("later", init_from=str(start), learning_rate=1e-9)
    later.train_here(monkeypatch)
    left, right = (load_file(p / "model.safetensors") for p in (start, later.folder / "models" / "adapter"))
    assert max((left[name] - right[name]).abs().max() for name in left) < 1e-4


@pytest.mark.parametrize("tiny", [{"width": 32}, {"heads": 4}, {"layers": 1}])
def test_init_from_another_shape_is_refused(project, never_killed, monkeypatch, tiny):
    other = project("shape", init_from=str(never_killed.folder / "models" / "adapter"))
    other.set(model={"tiny": {"layers": 2, "width": 16, "heads": 2, "dropout": 0.1, "vocabulary": 300} | tiny})
    with pytest.raises(DtiError, match="has shape"):
        other.train_here(monkeypatch)


def test_init_from_another_kind_of_adapter_is_refused(project, never_killed, monkeypatch):
    other = project("window", init_from=str(never_killed.folder / "models" / "adapter"))
    other.set(attention={"policy": "window"})
    with pytest.raises(DtiError, match="has sight"):
        other.train_here(monkeypatch)
    assert not (other.folder / "models").exists()
