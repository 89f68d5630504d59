"""The progress bar."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from tqdm import tqdm

from .memory import peak_memory_mb
from .metrics import MetricsLog, find_validation

SAID = {"val_top1": "top-1", "val_recall1": "recall@1"}


class ProgressBar(L.Callback):
    """One bar over the whole run, on standard error.

    It shows rate, time left, loss, best validation, share of the time spent waiting for batches,
    and the most memory so far.

    Args:
        steps: Steps of the whole run.
        batch_size: Pictures per step, of all devices.
        figures: Measures the waiting.
    """

    def __init__(self, steps: int, batch_size: int, figures: MetricsLog) -> None:
        self.steps, self.batch_size, self.figures = steps, batch_size, figures
        self.bar: tqdm[Any] | None = None
        self._best = "–"
        self._score = 0.0

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
                wait = self.figures.waited / max(self.figures.worked, 1e-9)
                memory = peak_memory_mb(module.device.type) / 1024
                self.bar.set_postfix_str(
                    f"loss {loss:.3f}, val {self._best}, wait {wait:.0%}, {memory:.1f} GB",
                    refresh=False,
                )

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep the best validation for the bar."""
        for name, value in find_validation(trainer).items():
            if value >= self._score:
                self._score, self._best = value, f"{SAID[name]} {value:.3f}"

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        """Close the bar."""
        self.on_train_end(trainer, module)
