"""Which number format to train in: found out on this processor, not assumed."""

from __future__ import annotations

import time

import torch
from torch import nn


def pick_device(wanted: str) -> str:
    """Return the device for a recipe's `device`: `auto` takes an accelerator where there is one."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_precision(wanted: str, device: str) -> str:
    """Return "float32" or "bfloat16" for a recipe's `train.precision`.

    On a GPU `auto` asks the driver. On a CPU it times a convolution and a matrix product in
    both formats, since many processors only emulate bfloat16, slower than float32.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device != "cpu":
        return "float32"
    return "bfloat16" if _seconds(torch.bfloat16) < 0.8 * _seconds(torch.float32) else "float32"


def _seconds(dtype: torch.dtype) -> float:
    """Return the least time in seconds of a small forward and backward pass under autocast."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.Flatten(), nn.LazyLinear(256))
    pixels = torch.randn(32, 32, 16, 16, generator=generator)
    with torch.no_grad():
        net(pixels[:1])
    times = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            out = net(pixels)
        out.float().square().mean().backward()
        times.append(time.perf_counter() - start)
    return min(times[1:])
