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


def test_gpus_are_read_where_the_library_is_there(rapl, monkeypatch):
    millijoules = {0: 1000.0, 1: 5000.0, 2: 0.0}
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetTotalEnergyConsumption=millijoules.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    meter = Meter(2)
    millijoules |= {0: 2000.0, 1: 5500.0, 2: 9000.0}
    assert meter.sources == ["GPU"]
    assert meter.joules() == pytest.approx(1.5)


def test_a_gpu_library_that_is_missing_is_no_error(rapl, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Meter(1).sources == []
