"""The options that say how to compute, alike in every command that looks at pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .framework import option

Decorator = Callable[[Callable[..., Any]], Any]
SECTION = "Computing"


def batch_size_option(section: str = SECTION) -> Decorator:
    """Give a command `--batch-size`."""
    return option(section, "--batch-size", type=click.IntRange(1), default=64, show_default=True,
                  help="Pictures per forward pass.")  # fmt: skip


def device_option(section: str = SECTION) -> Decorator:
    """Give a command `--device`."""
    devices = click.Choice(["auto", "cpu", "cuda", "mps"])
    return option(section, "--device", type=devices, default="auto", show_default=True,
                  help="Where to compute.")  # fmt: skip


def precision_option(section: str = SECTION) -> Decorator:
    """Give a command `--precision`."""
    formats = click.Choice(["float32", "bfloat16"])
    return option(section, "--precision", type=formats, default="float32", show_default=True,
                  help="Number format of the image tower.")  # fmt: skip
