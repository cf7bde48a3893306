"""A checkpoint on a disk that is full: a tmpfs of one mebibyte."""

import os
import subprocess

import pytest
import torch

from dti.errors import DtiError
from dti.training.checkpoint import Checkpoint, State

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a size-limited tmpfs needs root"),
]


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)
    try:
        checkpoint = Checkpoint(tmp_path / "run")
        small, large = torch.nn.Linear(8, 8), torch.nn.Linear(1024, 1024)
        checkpoint.save(small, torch.optim.AdamW(small.parameters()), {}, State(step=3))
        with pytest.raises(DtiError, match="last.safetensors: the disk is full"):
            checkpoint.save(large, torch.optim.AdamW(large.parameters()), {}, State(step=4))
        state, _ = checkpoint.restore(small, torch.optim.AdamW(small.parameters()))
        assert state.step == 3
        assert [p.name for p in (tmp_path / "run").iterdir()] == ["last.safetensors"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
