"""The device that parameters name, and how memory is kept there."""

import subprocess
import sys

import pytest
import torch

from dti.errors import DtiError
from dti.model.device import device_of, keep_freed_memory

FAULTS = """
import resource, torch
from dti.model.device import keep_freed_memory
if {keep}:
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(50_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(4)))
"""


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DtiError, match="train.device: cuda, but this machine has no usable GPU"):
        device_of("cuda")
    assert device_of("auto") == torch.device("cpu")


def test_freed_memory_is_used_again():
    """A later tensor of 200 MB touches no fresh page; without the setting each one faults for all of its pages."""
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    found = [
        int(subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (True, False)
    ]
    assert found[0] < 50 < found[1]
