"""Which number format to train in: found out on this machine, not assumed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from domainclip.data.batches import Batch

from .compiling import compiled
from .features import fixed_features
from .module import ContrastiveModule
from .probe import copy_for_trial

_ROUNDS = 4
_WORTH_IT = 0.9
"""bfloat16 is taken on a CPU where a pass takes less than this share of float32's time."""


def pick_precision(
    wanted: str, device: str, module: ContrastiveModule, batches: Iterable[Batch]
) -> str:
    """Return "float32" or "bfloat16" for a recipe's `train.precision`.

    On a GPU `auto` asks the driver. On a CPU it times this very model on a batch in both formats:
    many processors only emulate bfloat16, slower than float32, while others halve the time by it.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device != "cpu":
        return "float32"
    batch = next(iter(batches))
    state = torch.get_rng_state()
    trial = copy_for_trial(module).train()
    if fixed_features(module.recipe):
        trial.features = _stand_in(trial, batch)
    # In turn, and the least of each: a busy moment of the machine then hits neither alone.
    with compiled(trial.model, module.recipe.train.compile):
        rounds = [
            (_seconds(trial, batch, True), _seconds(trial, batch, False)) for _ in range(_ROUNDS)
        ]
    torch.set_rng_state(state)
    half, full = (min(times) for times in zip(*rounds, strict=True))
    return "bfloat16" if half < _WORTH_IT * full else "float32"


@torch.no_grad()
def _stand_in(trial: ContrastiveModule, batch: Batch) -> Tensor:
    """Return something in place of features that are computed once, which steps only look up."""
    one = trial.model.pool(trial.normalise(batch.pixels[:1]))
    return one.expand(int(batch.indices.max()) + 1, -1)


def _seconds(trial: ContrastiveModule, batch: Batch, bfloat16: bool) -> float:
    """Return the time in seconds of a forward and backward pass."""
    start = time.perf_counter()
    trial.backpropagate(batch, partial(torch.autocast, "cpu", torch.bfloat16, enabled=bfloat16))
    trial.zero_grad()
    return time.perf_counter() - start
