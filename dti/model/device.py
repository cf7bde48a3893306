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
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # Its backward pass gives NaN for masked rows on H100 since torch 2.11 (pytorch issue 196678).
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda")
