"""What a process says of its own memory."""

import mmap

import torch

from dti.training import memory

CPU = torch.device("cpu")


def test_the_peak_stays_when_memory_is_given_back():
    before = memory.resident_bytes()
    with mmap.mmap(-1, 2**27) as block:  # 128 MiB of the system's own; the allocator might have kept as much
        block.write(b"1" * len(block))
        held = memory.resident_bytes()
    assert held - before > 2**26
    assert memory.resident_bytes() < held
    # Linux counts pages per core and sums them up late, so that both figures are a few pages off.
    assert memory.peak_bytes(CPU) >= held - 2**25


def test_a_system_that_does_not_tell_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert memory.peak_bytes(CPU) is None
    assert memory.resident_bytes() == 0
