"""How much memory a run takes, and what to do where there is not enough."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from domainclip.errors import TrainingError
from domainclip.recipe.schema import Recipe, uneven_parts

from .processes import count_processes

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
"""What a RuntimeError of torch says where an allocation failed."""


def peak_memory_mb(device: str) -> float:
    """Return the most memory so far in MB: on the GPU for "cuda", else of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@contextmanager
def explained_memory(recipe: Recipe, folder: Path) -> Iterator[None]:
    """Turn a failed allocation into an error that says what to lower.

    Raises:
        TrainingError: If memory runs out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise _explain(recipe, folder) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS)


def _explain(recipe: Recipe, folder: Path) -> TrainingError:
    batch, micro = recipe.data.batch_size, recipe.train.micro_batch
    processes = max(count_processes(), recipe.train.devices)
    share = batch // processes
    most = min(micro or share, share) // 4
    parts = [part for part in range(1, most + 1) if share % part == 0]
    ways = [f"--train.micro_batch {parts[-1]} (the same step, in parts)"] if parts else []
    if not recipe.model.grad_checkpointing:
        ways.append("--model.grad_checkpointing true (more time, less memory)")
    half = batch // 2 // processes * processes
    if half >= 2 and not uneven_parts(half, micro, processes):
        ways.append(f"--data.batch_size {half}")
    ways = ways or ["a smaller --model.image_size"]
    run = shlex.quote(str(folder))
    began = (folder / "recipe.yaml").is_file()
    again = f"domainclip train --recipe {run} --out NEW" if began else "domainclip train"
    where = f"{recipe.data.batch_size} pictures a step" + (f" in parts of {micro}" if micro else "")
    hint = f"{again}, with one of: {', '.join(ways)}"
    if (folder / "checkpoints").is_dir():
        hint += f"; where memory is free again: domainclip train --resume {run}"
    return TrainingError(f"memory ran out, at {where}", hint)
