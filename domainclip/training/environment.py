"""What a run was made with: versions, processor, command line, data."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

from domainclip import __version__
from domainclip.paths import PACKAGE

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "timm", "lightning", "datasets", "albumentations",
    "torchmetrics", "numpy", "pillow",
)  # fmt: skip


def describe_environment(
    device: str, precision: str, command: Sequence[str], fingerprint: str
) -> dict[str, Any]:
    """Return what `environment.json` of a run folder holds.

    Arguments of the command line that look like secrets never occur: domainclip takes none.
    """
    return {
        "domainclip": __version__,
        "commit": git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "precision": precision,
        "packages": {name: _version(name) for name in PACKAGES},
        "data_fingerprint": fingerprint,
    }


def processor_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, or None for an install."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=PACKAGE.parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
