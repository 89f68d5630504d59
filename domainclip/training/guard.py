"""A step whose loss or gradient is not finite is skipped: it leaves no trace in the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from domainclip.model.gates import Gates

from .processes import any_process
from .sharding import local_part
from .stop import end_now

LIMIT = 3
"""Skipped steps in a row at which a run ends."""


class StepGuard(L.Callback):
    """Leaves weights, optimizer and running statistics as they were before a step that went wrong.

    The module hands over the loss of a step as `loss`, and its gradients by `clip`. Several
    processes decide alike. At `LIMIT` skipped steps in a row the trainer is asked to stop.
    """

    def __init__(self) -> None:
        self.loss: Tensor | None = None
        """Loss of the step in hand, a scalar; None where only the gradient counts."""
        self.norm: Tensor | float = math.nan
        """Norm of the gradient of the last step, before it was clipped."""
        self.skipped = 0
        """Steps skipped so far, those before a resume included."""
        self.in_a_row = 0
        self.diverged = False
        self._before: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        """Keep the running statistics, which a forward pass changes before anything is known."""
        self._before = [(b, b.detach().clone()) for b in running_statistics(module)]

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> None:
        """Clip gradients to the norm `most`, 0 for none; where they are not finite, drop them.

        AdamW passes over a parameter without a gradient: neither it nor its moments change.
        """
        trained = [p for p in parameters if p.grad is not None]
        if not trained:
            return
        self.norm = norm = clip_gradients(trained, most)
        finite = torch.isfinite(norm)
        if self.loss is not None:
            finite = finite & torch.isfinite(self.loss)
        if not any_process(not finite):
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += 1
        for parameter in trained:
            parameter.grad = None
        for buffer, before in self._before:
            buffer.copy_(before)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Ask the trainer to stop where no step comes through."""
        if self.in_a_row >= LIMIT:
            self.diverged = True
            end_now(trainer)

    def state_dict(self) -> dict[str, int]:
        """Return the counts; a run that is taken up after it ended here gets `LIMIT` new tries."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row % LIMIT}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Count on."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]


def finite_weights(module: nn.Module) -> bool:
    """Return whether all weights are finite, in all processes."""
    return not any_process(any(not local_part(p).isfinite().all() for p in module.parameters()))


def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Clip gradients to the norm `most`, 0 for none, and return the norm that they had.

    Shards and whole parameters count together; all processes get one norm.
    """
    kinds = [[p for p in parameters if isinstance(p, DTensor) == shards] for shards in (0, 1)]
    kinds = [kind for kind in kinds if kind]
    norms = [nn.utils.get_total_norm([p.grad for p in k if p.grad is not None]) for k in kinds]
    norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    norm = torch.linalg.vector_norm(torch.stack(norms)) if len(norms) > 1 else norms[0]
    if most:
        for kind in kinds:  # torch takes no list that mixes the two
            nn.utils.clip_grads_with_norm_(kind, most, norm)
    return norm


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Return the buffers of layers that keep running statistics, such as batch normalisation."""
    layers = (
        m
        for m in module.modules()
        if isinstance(m, Gates) or getattr(m, "running_mean", None) is not None
    )
    return [buffer for layer in layers for buffer in layer.buffers(recurse=False)]


def say_skipped(skipped: int) -> list[str]:
    """Say how many steps were skipped; nothing where there were none."""
    if not skipped:
        return []
    steps = "1 step was" if skipped == 1 else f"{skipped:,} steps were"
    return [f"{steps} skipped because loss or gradient was not finite; a lower optim.lr may help"]
