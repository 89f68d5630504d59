"""One training by several processes: who is who, and what they exchange."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


def count_processes() -> int:
    """Return the number of processes that train together; 1 without a group."""
    return distributed.get_world_size() if _grouped() else 1


def process_rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if _grouped() else 0


def gather(features: Tensor) -> Tensor:
    """Return the rows of all processes in their order, with gradient to each process's own.

    Args:
        features: This process's rows, of one shape in all processes.
    """
    if count_processes() == 1:
        return features
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(features.contiguous()))  # type: ignore[no-untyped-call]


def my_share(rows: Tensor) -> Tensor:
    """Return this process's rows of what all processes hold alike, as many for each.

    Where they do not go round the last row is repeated, so that `gather` gives a few too many.
    """
    world = count_processes()
    if world == 1:
        return rows
    each = -(-len(rows) // world)
    first = process_rank() * each
    index = torch.arange(first, first + each, device=rows.device).clamp(max=len(rows) - 1)
    return rows[index]


def average_gradients(model: nn.Module) -> None:
    """Average the gradients of all processes, where the engine does not do it by itself."""
    world = count_processes()
    if world == 1:
        return
    for parameter in model.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
