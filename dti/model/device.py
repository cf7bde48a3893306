"""Where a model runs."""

import ctypes
import os
from contextlib import AbstractContextManager

import torch

from dti.errors import DtiError
from dti.home import home

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def device_of(name: str) -> torch.device:
    """The device that ``train.device`` names; ``auto`` takes a GPU where there is one.

    Raises:
        DtiError: a GPU is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DtiError("train.device: cuda, but this machine has no usable GPU; set auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        keep_freed_memory()
        return torch.device("cpu")
    # Its backward pass gives NaN for masked rows on H100 since torch 2.11 (pytorch issue 196678).
    torch.backends.cuda.enable_cudnn_sdp(False)
    keep_compiled()
    return torch.device("cuda")


def arithmetic(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Matrix products in bf16 where ``precision`` is ``bf16`` (autocast), all in float32 where it is ``fp32``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def keep_compiled() -> str:
    """Let torch.compile find in the home folder what it made before; returns the folder.

    Its own place is the machine's temporary folder, which does not last. A folder that the environment names stays.
    """
    return os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "compiled"))


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next tensors; returns whether it does (other C libraries cannot).

    It would map each large tensor anew and clear every page of it: up to 40 % of a process's time (docs/log.md). The
    process keeps its peak memory until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
