"""Hours and energy of training are those of training proper; validation and checkpoints count apart."""

import threading
import time
from types import SimpleNamespace

import pytest

from dti.training import energy, trainer
from dti.training.trainer import Trainer


@pytest.fixture
def clock(monkeypatch):
    """The trainer's clock: a millisecond passes at each look, and what ``clock.now += seconds`` adds."""
    state = SimpleNamespace(now=0.0)

    def look():
        state.now += 0.001
        return state.now

    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=look, monotonic=time.monotonic))
    return state


@pytest.fixture
def after(monkeypatch):
    """``after(method, action)``: the action is done at the end of each call of a trainer's method."""

    def add(name, action):
        method = getattr(Trainer, name)

        def wrapped(self, *arguments):
            result = method(self, *arguments)
            action()
            return result

        monkeypatch.setattr(Trainer, name, wrapped)

    return add


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """``counter(joules)``: so much more has been taken; no other counter of this machine is read."""
    monkeypatch.setattr(energy, "RAPL", tmp_path / "powercap")
    file = tmp_path / "powercap" / "intel-rapl:0" / "energy_uj"
    file.parent.mkdir(parents=True)
    file.write_text("0")
    return lambda joules: file.write_text(str(int(file.read_text()) + int(1e6 * joules)))


def test_training_is_waiting_and_computing_and_the_rest_stands_apart(project, monkeypatch):
    run = project("hours", epochs=2)
    run.train_here(monkeypatch)
    report = run.report()
    assert report["training_hours"] == pytest.approx(report["wait_hours"] + report["compute_hours"])
    parts = ["wait_hours", "compute_hours", "validation_hours", "checkpoint_hours"]
    assert all(report[name] > 0 for name in parts)


def test_a_slow_validation_costs_no_training_hours(project, monkeypatch, clock, after):
    """Two runs whose clock differs in validation alone; both steps and looks are the same."""
    reports = []
    for name in ("quick", "slow"):
        if name == "slow":
            after("_valid_scores", lambda: setattr(clock, "now", clock.now + 0.3))
        run = project(name, epochs=2)
        run.train_here(monkeypatch)
        reports.append(run.report())
    quick, slow = reports
    assert 3600 * (slow["validation_hours"] - quick["validation_hours"]) == pytest.approx(2 * 0.3)
    assert slow["training_hours"] == pytest.approx(quick["training_hours"])
    assert slow["checkpoint_hours"] == pytest.approx(quick["checkpoint_hours"])


@pytest.mark.parametrize(("method", "counts"), [("_gradients", True), ("_valid_scores", False)])
def test_energy_is_that_of_training_steps(project, monkeypatch, after, counter, method, counts):
    after(method, lambda: counter(2))
    run = project("energy", epochs=2)
    run.train_here(monkeypatch)
    report = run.report()
    assert report["joules_of"] == ["CPU"]
    assert report["joules"] == pytest.approx(2 * report["steps"] if counts else 0)


def test_the_next_batch_is_made_in_another_thread_while_a_step_goes_on(project, monkeypatch):
    run = project("ahead", epochs=1)
    begun, threads, ready = [], [], []
    asked = [threading.Event() for _ in range(100)]
    batch_of, step = trainer.batch_of, Trainer._step

    def asking(*arguments):
        asked[len(threads)].set()
        threads.append(threading.current_thread())
        return batch_of(*arguments)

    def stepping(self, batch):
        begun.append(batch)
        last = len(begun) == self.steps_per_epoch
        ready.append(last or asked[len(begun)].wait(30))
        return step(self, batch)

    monkeypatch.setattr(trainer, "batch_of", asking)
    monkeypatch.setattr(Trainer, "_step", stepping)
    run.train_here(monkeypatch)
    assert len(ready) == run.report()["steps"] > 2
    assert all(ready), "each next batch was asked for before the step ended"
    assert threading.main_thread() not in threads
