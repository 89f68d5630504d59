"""One training by several processes: who is who, and what they exchange."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

_Value = TypeVar("_Value")


def find_cluster() -> ClusterEnvironment | None:
    """Return who started this process among others: torchrun, SLURM, or nobody."""
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect() and kind().world_size() > 1:
            return kind()
    return None


def join_processes(device: str) -> None:
    """Join the processes that were started together; alone, this does nothing.

    Args:
        device: "cuda" takes the GPU of this process's number on its machine.
    """
    cluster = find_cluster()
    if cluster is None or _grouped():
        return
    if device == "cuda":
        torch.cuda.set_device(cluster.local_rank())
    os.environ.setdefault("MASTER_ADDR", cluster.main_address)
    os.environ.setdefault("MASTER_PORT", str(cluster.main_port))
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        rank=cluster.global_rank(),
        world_size=cluster.world_size(),
    )


def leave_processes() -> None:
    """End the group, when each process has come so far; what follows each does alone."""
    if _grouped():
        distributed.barrier()
        distributed.destroy_process_group()


def count_processes() -> int:
    """Return the number of processes that train together; 1 without a group."""
    return distributed.get_world_size() if _grouped() else 1


def machines() -> int:
    """Return the number of machines that these processes run on."""
    given = os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("SLURM_NNODES") or "1"
    return int(given) if _grouped() else 1


def process_rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if _grouped() else 0


def agree(value: _Value) -> _Value:
    """Return the value of the first process."""
    if not _grouped():
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set in any process."""
    if not _grouped():
        return flag
    votes = torch.tensor(float(flag), device=device)
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return bool(votes > 0)


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process go ahead, so that the others find on disk what it has made."""
    if process_rank():
        distributed.barrier()
    yield
    if _grouped() and not process_rank():
        distributed.barrier()


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


def take_from_first(tensors: Iterable[Tensor]) -> None:
    """Give tensors the values that they have in the first process, in place."""
    if _grouped():
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)


def average_gradients(model: nn.Module) -> None:
    """Average the gradients of all processes, where the engine does not do it by itself.

    Those of shards are averages already.
    """
    world = count_processes()
    if world == 1:
        return
    for parameter in model.parameters():
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
