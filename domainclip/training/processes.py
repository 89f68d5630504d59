"""One training by several processes: who is who, and what they exchange."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from domainclip.errors import DomainclipError, TrainingError, UsageError

_Value = TypeVar("_Value")
_PATIENCE = timedelta(days=1)
"""How long processes wait for one that opens or packs data; GPUs wait for each other minutes."""
_hosts: distributed.ProcessGroup | None = None
"""The same processes, for what they exchange outside the steps: by gloo and with patience."""


def find_cluster() -> ClusterEnvironment | None:
    """Return who started this process among others: torchrun, SLURM's srun, or nobody.

    A batch script of SLURM counts the job's tasks too, but is a process by itself.
    """
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind is SLURMEnvironment and "SLURM_STEP_ID" not in os.environ:
            continue
        if kind.detect() and kind().world_size() > 1:
            return kind()
    return None


def join_processes(device: str) -> None:
    """Join the processes that were started together; alone, this does nothing.

    Args:
        device: "cuda" takes the GPU of this process's number on its machine.

    Raises:
        UsageError: If this process does not see that GPU.
    """
    global _hosts
    cluster = find_cluster()
    if cluster is None or _grouped():
        return
    if device == "cuda":
        local, seen = cluster.local_rank(), torch.cuda.device_count()
        if local >= seen:
            raise UsageError(
                f"process {local} of this machine is to take GPU {local}, but sees {seen} of them",
                "start one process a GPU, and let each see all GPUs of its machine "
                "(SLURM: --gpus-per-node, not --gpus-per-task)",
            )
        torch.cuda.set_device(local)
    os.environ.setdefault("MASTER_ADDR", cluster.main_address)
    os.environ.setdefault("MASTER_PORT", str(cluster.main_port))
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        rank=cluster.global_rank(),
        world_size=cluster.world_size(),
    )
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(group, distributed.ProcessGroup)
    _hosts = group


def leave_processes() -> None:
    """End the group, when each process has come so far; what follows each does alone."""
    global _hosts
    if _grouped():
        distributed.barrier(_hosts)
        distributed.destroy_process_group()
        _hosts = None


def count_processes() -> int:
    """Return the number of processes that train together; 1 without a group."""
    return distributed.get_world_size() if _grouped() else 1


def machines() -> int:
    """Return the number of machines that these processes run on."""
    given = os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("SLURM_NNODES") or "1"
    return int(given) if _grouped() else 1


def neighbours() -> int:
    """Return how many processes share this one's processors; srun gives each its own."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _grouped() else 1


def process_rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if _grouped() else 0


def agree(value: _Value) -> _Value:
    """Return the value of the first process."""
    if not _grouped():
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0, group=_hosts)
    return held[0]


def from_all(value: _Value) -> list[_Value]:
    """Return the values of all processes, in their order."""
    if not _grouped():
        return [value]
    held = [value] * count_processes()
    distributed.all_gather_object(held, value, group=_hosts)
    return held


def any_process(flag: bool) -> bool:
    """Return whether the flag is set in any process."""
    if not _grouped():
        return flag
    votes = torch.tensor(int(flag))
    distributed.all_reduce(votes, distributed.ReduceOp.MAX, group=_hosts)
    return bool(votes)


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process go ahead, so that the others find on disk what it has made.

    Raises:
        DomainclipError: In the others, if the first one fails; whatever it was that it failed by.
    """
    if process_rank():
        failed: tuple[str, str, int] | None = agree(None)
        if failed is not None:
            message, hint, code = failed
            raise TrainingError(f"the first process failed: {message}", hint, code)
        yield
        return
    try:
        yield
    except BaseException as error:
        if isinstance(error, DomainclipError):
            agree((error.message, error.hint, error.exit_code))
        else:
            agree((f"{type(error).__name__}: {error}", "", 1))
        raise
    agree(None)


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
