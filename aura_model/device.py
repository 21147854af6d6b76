"""Which device computes."""

import torch

from aura_model.errors import ConfigError


def resolve_device(device: str) -> str:
    """`auto` to `cuda` where there is one, else `cpu`; every other name as it is.

    Raises:
        ConfigError: a CUDA device is asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("inference.device: cuda is set, but this machine has no CUDA device")
    return device
