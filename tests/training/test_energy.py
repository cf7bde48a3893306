"""Energy counters that can be read are summed; others are left out."""

import sys
from types import SimpleNamespace

import pytest

from dti.training import energy
from dti.training.energy import Meter


@pytest.fixture
def rapl(tmp_path, monkeypatch):
    """``rapl(microjoules, ...)`` sets the counters of as many CPU packages."""
    monkeypatch.setattr(energy, "RAPL", tmp_path)

    def write(*values):
        for number, value in enumerate(values):
            package = tmp_path / f"intel-rapl:{number}"
            package.mkdir(exist_ok=True)
            (package / "energy_uj").write_text(f"{value}\n")

    return write


def test_nothing_to_read_is_nothing_taken(rapl):
    meter = Meter(0)
    assert (meter.sources, meter.joules()) == ([], 0.0)


def test_packages_are_summed_and_a_counter_that_begins_anew_is_left_out(rapl):
    rapl(5_000_000, 1_000_000)
    meter = Meter(0)
    assert meter.sources == ["CPU"]
    rapl(7_000_000, 2_000_000)
    assert meter.joules() == pytest.approx(3.0)
    rapl(100, 2_500_000)
    assert meter.joules() == pytest.approx(0.5)


@pytest.fixture
def millijoules(rapl, monkeypatch):
    """Counters of a machine's three GPUs, which a stub of NVML reads."""
    counters = {0: 1000.0, 1: 5000.0, 2: 0.0}
    uuids = {"GPU-aa": 0, "GPU-bb": 1, "GPU-cc": 2}

    def by_uuid(uuid):
        if uuid not in uuids:
            raise RuntimeError
        return uuids[uuid]

    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetTotalEnergyConsumption=counters.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return counters


def test_gpus_are_read_where_the_library_is_there(millijoules):
    meter = Meter(2)
    millijoules |= {0: 2000.0, 1: 5500.0, 2: 9000.0}
    assert meter.sources == ["GPU"]
    assert meter.joules() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("shown", "joules"),
    [("2,0", 10.0), ("2", 9.0), ("2, 1, 0", 9.5), ("GPU-bb,GPU-aa", 1.5), ("GPU-cc", 9.0), ("GPU-none,0", 1.0)],
)
def test_the_gpus_that_cuda_shows_are_those_that_count(millijoules, monkeypatch, shown, joules):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    meter = Meter(2)
    millijoules |= {0: 2000.0, 1: 5500.0, 2: 9000.0}
    assert meter.joules() == pytest.approx(joules)


def test_a_gpu_library_that_is_missing_is_no_error(rapl, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Meter(1).sources == []
