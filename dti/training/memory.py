"""What a process holds in memory: now, and at most since it began."""

from pathlib import Path

import torch

STATUS = Path("/proc/self/status")  # Linux; getrusage's maximum would count the parent's before exec


def resident_bytes() -> int:
    """Bytes of this process's resident memory; 0 where the system does not tell."""
    return _resident("VmRSS") or 0


def peak_bytes(device: torch.device) -> int | None:
    """Bytes at most: of a GPU's tensors, else of resident memory, libraries included; None where nothing tells."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(name: str) -> int | None:
    if not STATUS.is_file():
        return None
    return 1024 * next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
