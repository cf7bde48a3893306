"""Where a model runs."""

import torch

from dti.errors import DtiError


def device_of(name: str) -> torch.device:
    """The device that ``train.device`` names; ``auto`` takes a GPU where there is one.

    Raises:
        DtiError: a GPU is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DtiError("train.device: cuda, but this machine has no usable GPU; set auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
