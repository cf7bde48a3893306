"""Energy that a run takes, where the machine tells: GPUs by NVML (package nvidia-ml-py), CPU packages by RAPL (Linux).

Counters are the machine's: other work on the same devices counts, too.
"""

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

RAPL = Path("/sys/class/powercap")


class Meter:
    """Joules since the last look.

    Args:
        gpus: how many GPUs the run uses, the first ones.

    Attributes:
        sources: what is counted, such as ``GPU`` and ``CPU``; empty where nothing can be read.
    """

    def __init__(self, gpus: int) -> None:
        self.nvml: Any = _nvml() if gpus else None
        self.gpus = range(gpus)
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
        for number in self.gpus if self.nvml else ():
            with suppress(self.nvml.NVMLError):
                handle = self.nvml.nvmlDeviceGetHandleByIndex(number)
                yield f"GPU {number}", self.nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


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
