"""`domainclip env`: versions, devices and paths, to paste into a report."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import click

from domainclip import __version__, paths

from .framework import Command
from .output import Output, format_options

PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "lightning", "datasets", "numpy")


@click.command(
    "env",
    cls=Command,
    help="Show versions, devices and paths.",
    examples=("domainclip env", "domainclip env --json"),
)
@format_options
def command(out: Output) -> None:
    """Print one line for each fact."""
    out.record(describe())


def describe() -> dict[str, Any]:
    """Return what a report of a problem should say about this machine."""
    from domainclip.data.parallel import cpu_count

    facts: dict[str, Any] = {
        "domainclip": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cpu_count(),
    }
    for name in PACKAGES:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return {
        **facts,
        **_devices(),
        "package": str(paths.PACKAGE),
        "recipes": str(paths.recipes_dir()),
        "cache": str(paths.home_dir()),
        "runs": str(paths.runs_dir().resolve()),
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith("DOMAINCLIP_")},
    }


def _devices() -> dict[str, Any]:
    try:
        import torch

        from domainclip.model.device import pick_device
    except ImportError as error:
        return {"device": f"torch cannot be imported: {error}"}
    device = pick_device("auto")
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return {
        "device": f"{device} ({name})" if name else device,
        "threads": torch.get_num_threads(),
    }
