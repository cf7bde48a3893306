"""Energy that a run takes, where the machine tells: GPUs by NVML (package nvidia-ml-py), CPU packages by RAPL (Linux).

Counters are the machine's: other work on the same devices counts, too.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

RAPL = Path("/sys/class/powercap")


class Meter:
    """Joules since the last look.

    Args:
        gpus: how many GPUs the run uses, the first that CUDA shows it.

    Attributes:
        sources: what is counted, such as ``GPU`` and ``CPU``; empty where nothing can be read.
    """

    def __init__(self, gpus: int) -> None:
        self.nvml: Any = _nvml() if gpus else None
        self.gpus = visible(gpus)
        self.last = dict(self._counters())
        self.sources = sorted({name.split()[0] for name in self.last})

    def joules(self) -> float:
        """What was taken since the last call; a counter that has begun anew is left out once."""
        now = dict(self._counters())
        taken = sum(max(0.0, value - self.last.get(name, value)) for name, value in now.items())
        self.last = now
        return taken

    def _counters(self) -> Iterator[tuple[str, float]]:
        """Each counter that can be read, in joules."""
        for package in sorted(RAPL.glob("intel-rapl:?")):
            with suppress(OSError, ValueError):  # for root alone, mostly
                yield f"CPU {package.name}", int((package / "energy_uj").read_text()) / 1e6
        for gpu in self.gpus if self.nvml else ():
            with suppress(self.nvml.NVMLError):
                yield f"GPU {gpu}", self.nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle(gpu)) / 1e3

    def _handle(self, gpu: str) -> Any:
        if gpu.isdecimal():
            return self.nvml.nvmlDeviceGetHandleByIndex(int(gpu))
        return self.nvml.nvmlDeviceGetHandleByUUID(gpu)


def visible(count: int) -> list[str]:
    """The first GPUs that CUDA shows this process, as NVML, which shows all, names them: indices or whole UUIDs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if named is None else map(str.strip, named.split(","))
    return list(names)[:count]


def _nvml() -> Any:
    """NVIDIA's library, begun; None where it is missing."""
    try:
        library = import_module("pynvml")
        library.nvmlInit()
    except (ImportError, OSError):
        return None
    except library.NVMLError:
        return None
    return library
