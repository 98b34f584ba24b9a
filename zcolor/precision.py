"""The precision in which networks answer: bfloat16 where a device computes in it, else float32."""

from __future__ import annotations

from functools import lru_cache

import torch

# Names that torch gives to the instructions of CPUs (x86 and Arm) that multiply in bfloat16.
_CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def fast_precision(device: torch.device, *, bf16: bool = True) -> torch.autocast:
    """Let networks compute in bfloat16 if the device has instructions for it.

    It takes about half the time there. Pictures differ from those in float32 by a level of 255 at
    most pixels that differ at all (docs/performance.md); decoding is always in float32. Without the
    instructions bfloat16 is emulated, which takes three to five times as long as float32.

    Parameters
    ----------
    device
        Where the network runs.
    bf16
        False computes in float32 on every device.

    Returns
    -------
    A context that does nothing on a device without bfloat16.

    Examples
    --------
    >>> with fast_precision(torch.device("cpu")):
    ...     answer = torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2))
    >>> answer.dtype in (torch.bfloat16, torch.float32)
    True
    """
    return torch.autocast(
        device.type, torch.bfloat16, enabled=bf16 and computes_in_bfloat16(device)
    )


@lru_cache(maxsize=8)
def computes_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16.

    Parameters
    ----------
    device
        A CPU, CUDA or MPS device.

    Returns
    -------
    True on CPUs with AVX-512 BF16, AMX or the like, and on CUDA from compute capability 8.0.

    Examples
    --------
    >>> computes_in_bfloat16(torch.device("mps"))
    False
    """
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return any(features.get(name) is True for name in _CPU_FEATURES)
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
