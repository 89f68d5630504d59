"""Where to compute."""

from __future__ import annotations

import torch

from domainclip.errors import UsageError


def pick_device(wanted: str) -> str:
    """Return the device for a recipe's `device`: `auto` takes an accelerator where there is one.

    Raises:
        UsageError: If this machine, or its PyTorch, does not have the device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(wanted, True):
        raise UsageError(
            f"there is no {wanted} device here for this PyTorch ({torch.__version__})",
            "give --device cpu, or auto for the best that there is",
        )
    if wanted != "auto":
        return wanted
    return next((name for name in ("cuda", "mps") if there[name]), "cpu")
