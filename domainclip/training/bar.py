"""The progress bar."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from tqdm import tqdm


class ProgressBar(L.Callback):
    """One bar over the whole run, on standard error: rate, time left, loss, best validation."""

    def __init__(self, steps: int, batch_size: int) -> None:
        self.steps, self.batch_size = steps, batch_size
        self.bar: tqdm[Any] | None = None
        self._best = 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Draw the bar, at the step that a resumed run goes on from."""
        self.bar = tqdm(
            total=self.steps * self.batch_size,
            initial=trainer.global_step * self.batch_size,
            desc="training",
            unit=" pictures",
            unit_scale=True,
            file=sys.stderr,
            mininterval=0.5,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.batch_size)
            if trainer.global_step % 10 == 0:
                loss = float(trainer.callback_metrics.get("train_loss", 0.0))
                self.bar.set_postfix_str(f"loss {loss:.3f}, val top-1 {self._best:.3f}", False)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep the best validation for the bar."""
        self._best = max(self._best, float(trainer.callback_metrics.get("val_top1", 0.0)))

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        """Close the bar."""
        self.on_train_end(trainer, module)
