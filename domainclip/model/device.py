"""Where to compute."""

from __future__ import annotations

import torch


def pick_device(wanted: str) -> str:
    """Return the device for a recipe's `device`: `auto` takes an accelerator where there is one."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
