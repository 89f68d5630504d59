"""What a model can be exported to: how it is written, and how it is read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domainclip.errors import UsageError, suggest

from . import TARGETS
from .stock import Stock
from .towers import Towers

TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "int8": 1e-1}
"""Largest difference that a number of a unit vector may have, by the format of the weights."""


@dataclass(frozen=True)
class LabelVectors:
    """Labels, and the unit vectors that pictures are compared with."""

    vectors: NDArray[np.float32]
    """Shape (n, dim)."""
    ranks: tuple[str, ...]
    """Coarsest first."""
    lines: tuple[tuple[str, ...], ...]
    """The names of each label at every rank, "" where it has none."""
    common: tuple[str, ...]
    """The everyday name of each, "" where it has none."""


@dataclass(frozen=True)
class Target:
    """A program, and the files that it reads."""

    write: Callable[[Stock, Path, str, LabelVectors | None], dict[str, Any]]
    """Writes a model into an empty folder in a number format, and returns what else people must be
    told to use it; raises UsageError for a model that the program does not know."""
    read: Callable[[Path, Stock], Towers | None]
    """Loads it with the program itself; None where that is not installed."""
    dtypes: tuple[str, ...]
    tolerance: float = TOLERANCES["float32"]
    """For float32."""
    needs_text: bool = False
    """Whether it is of no use without a tokenizer."""
    takes_any_head: bool = False
    """Whether a head may come behind the image tower."""
    missing: str = ""
    """What is said where the program is not installed."""
    answer: Callable[[Towers, Tensor], Tensor] | None = None
    """Returns the program's own probabilities of the labels, shape (n, labels), for pixels."""


def find_target(name: str, dtype: str) -> Target:
    """Return a target by its name.

    Raises:
        UsageError: If there is none, it has no such number format, or a package is missing.
    """
    if name not in TARGETS:
        raise UsageError(
            f"no export to {name!r}",
            suggest(name, TARGETS) or f"there are {', '.join(TARGETS)}",
        )
    target = import_module(f"{__package__}.{name}").TARGET
    assert isinstance(target, Target)
    if dtype not in target.dtypes:
        raise UsageError(
            f"no export to {name} in {dtype}; there is {', '.join(target.dtypes)}",
            "int8 is for --to onnx" if dtype == "int8" else suggest(dtype, target.dtypes),
        )
    return target


def version_of(package: str) -> str:
    """Return a package and its version, as `onnxruntime 1.31.1`."""
    return f"{package} {metadata.version(package)}"
