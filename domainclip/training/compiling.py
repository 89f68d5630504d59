"""Compiled towers, in place: weights keep their names, and copies and saved models stay plain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from domainclip.errors import UsageError
from domainclip.model.clip import DomainClip


@contextmanager
def compiled(model: DomainClip, wanted: bool) -> Iterator[None]:
    """Compile both towers inside the block, if `wanted`; compilation itself comes with first use.

    The text tower is compiled for any number of texts of any length at once, rather than for the
    first ones and then anew: so a run that goes on computes by the same code as before.
    """
    if not wanted:
        yield
        return
    text = getattr(model.clip, "text", None)
    towers: list[tuple[nn.Module, bool | None]] = [
        (model.clip.visual, None),
        (model.clip.transformer if text is None else text, True),
    ]
    for tower, dynamic in towers:
        tower.compile(dynamic=dynamic)
    try:
        yield
    finally:
        for tower, _ in towers:
            tower._compiled_call_impl = None  # a plain tower again


def require_compiler(device: str) -> None:
    """Compile one line, to see that it can be done here.

    Raises:
        UsageError: If there is no compiler that works.
    """
    line = torch.compile(lambda x: x.sin() + x, fullgraph=True)
    try:
        line(torch.ones(64, device=device))
    except Exception as error:
        told = [part for part in str(error).splitlines() if part.strip()]
        needed = "a C++ compiler such as g++" if device == "cpu" else "Triton and a C compiler"
        raise UsageError(
            f"train.compile does not work here: {told[0] if told else type(error).__name__}",
            f"it needs {needed}; without: --train.compile false",
        ) from error
