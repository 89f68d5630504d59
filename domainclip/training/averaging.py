"""An exponential average of the weights, which is validated and kept in place of the last ones.

Lightning's own callback is not used: it writes no average into a checkpoint of weights only, and
leaves none of the trained weights after the last step, so that such a run could not go on.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from .module import ContrastiveModule

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class WeightAverage(L.Callback):
    """Averages the trained weights after each step, and stands in for them in validation.

    After n steps average = d * average + (1 - d) * weights with d = min(decay, (1 + n) / (10 + n)),
    so that a short run forgets where it began. Batch statistics are averaged alike.

    The average stays in the model from a validation to the next step; `aside` then holds the
    trained weights, and otherwise the average. A checkpoint has both, and says which is where.

    Args:
        decay: Decay of the average per step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.aside: dict[str, Tensor] = {}
        self.shown = False
        """True while the model holds the average."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin with the weights as they are, where no checkpoint brought an average."""
        here = _moving(module)
        kept = self.aside or here
        self.aside = {name: kept[name].detach().clone().to(x.device) for name, x in here.items()}

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        """Train on from the trained weights."""
        if self.shown:
            self._swap(module)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Move the average, where the step was not skipped."""
        if module.guard.in_a_row:
            return
        module.model.clamp_scales()
        n = trainer.global_step
        weight = 1 - min(self.decay, (1 + n) / (10 + n))
        for name, here in _moving(module).items():
            averaged = self.aside[name]
            if here.is_floating_point():
                averaged.lerp_(here, weight)
            else:
                averaged.copy_(here)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Validate the average."""
        if self.aside and not self.shown:
            self._swap(module)

    def state_dict(self) -> dict[str, Any]:
        """Return what is aside, and which of the two it is."""
        return {"aside": self.aside, "shown": self.shown}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the average of a checkpoint."""
        self.aside, self.shown = dict(state_dict["aside"]), bool(state_dict["shown"])

    @torch.no_grad()
    def _swap(self, module: L.LightningModule) -> None:
        for name, here in _moving(module).items():
            kept = here.clone()
            here.copy_(self.aside[name])
            self.aside[name].copy_(kept)
        self.shown = not self.shown


def _moving(module: L.LightningModule) -> dict[str, Tensor]:
    """Return what training changes, by name: trained weights and batch statistics."""
    assert isinstance(module, ContrastiveModule)
    trained = {n: p.detach() for n, p in module.model.named_parameters() if p.requires_grad}
    buffers = module.model.named_buffers()
    return trained | {n: b for n, b in buffers if n.endswith(_STATISTICS)}
