"""Turns minutes into steps: a short probe of one step's and one validation's time."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterable
from functools import partial
from itertools import islice

import torch

from domainclip.data.batches import Batch

from .compiling import compiled
from .gradcache import Context
from .module import ContrastiveModule

WARM, TIMED = 3, 8
BESIDE = 0.05
"""Share of the time that checkpoints and the loop around a step take."""


def count_steps(
    module: ContrastiveModule,
    batches: Iterable[Batch],
    val_batches: Iterable[Batch],
    *,
    minutes: float,
    validations: int,
    device: str,
    precision: str,
) -> int:
    """Return how many steps fit into `minutes`, with `validations` validations counted in.

    Trains a copy for a few steps, so that the module itself stays as it was. Every randomness of
    training is keyed by the step, so the run is the same whether it was probed or not; torch's own
    generator is put back all the same.
    """
    state = torch.get_rng_state()
    trial = copy_for_trial(module).to(device)
    trial.steps = WARM + TIMED
    trial.train()
    autocast = partial(torch.autocast, device, torch.bfloat16, enabled=precision == "bfloat16")
    compile = module.recipe.train.compile
    with compiled(trial.model, compile):
        step_seconds = _time_steps(trial, batches, autocast, device)
        if compile:
            _time_validation(trial, val_batches, autocast, device)
        validation_seconds = _time_validation(trial, val_batches, autocast, device)
    torch.set_rng_state(state)
    left = (1 - BESIDE) * 60 * minutes - validations * validation_seconds
    steps = max(1, int(left / step_seconds))
    return steps - steps % validations if steps > validations else steps  # ends on a validation


def copy_for_trial(module: ContrastiveModule) -> ContrastiveModule:
    """Return a copy that may be trained; what training reads alone is large, and is shared."""
    read_only = (module.features, module.views)
    return copy.deepcopy(module, {id(part): part for part in read_only if part is not None})


def _to(batch: Batch, device: str) -> Batch:
    return Batch(
        batch.pixels.to(device), batch.nodes.to(device), batch.indices.to(device), batch.step
    )


def _time_steps(
    trial: ContrastiveModule, batches: Iterable[Batch], autocast: Context, device: str
) -> float:
    """Return the seconds of a usual step; the first ones, in which all is set up, do not count."""
    (optimizer,), _ = trial.configure_optimizers()
    times: list[float] = []
    start = time.perf_counter()
    for batch in islice(batches, WARM + TIMED):
        optimizer.zero_grad()
        trial.backpropagate(_to(batch, device), autocast)
        trial.configure_gradient_clipping(optimizer)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    return statistics.median(times[WARM:] or times)


def _time_validation(
    trial: ContrastiveModule, batches: Iterable[Batch], autocast: Context, device: str
) -> float:
    """Return the seconds of a validation."""
    trial.eval()
    start = time.perf_counter()
    with torch.no_grad(), autocast():
        trial.on_validation_epoch_start()
        for batch in batches:
            trial.validation_step(_to(batch, device), 0)
        trial.hits()
    return time.perf_counter() - start
