"""The figures of a run as it goes: `metrics.jsonl`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning as L

from .module import ContrastiveModule


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl`; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


class MetricsLog(L.Callback):
    """Writes `metrics.jsonl`: one line every few steps and one at each validation.

    Lines hold step, train_loss, lr, images_per_second, data_wait (share of the time spent waiting
    for batches), logit_scale, and val_top1 at a validation.
    """

    def __init__(self, path: Path, batch_size: int, every: int = 20) -> None:
        self.path, self.batch_size, self.every = path, batch_size, every
        self._since, self._steps, self._waited = time.perf_counter(), 0, 0.0
        self._ended = self._since

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock, and drop lines past the step that a resumed run goes on from."""
        if self.path.exists():
            kept = [x for x in read_history(self.path) if x["step"] <= trainer.global_step]
            self.path.write_text("".join(f"{json.dumps(x)}\n" for x in kept), encoding="utf-8")
        self._since = self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        """Count the wait for the batch."""
        self._waited += time.perf_counter() - self._ended

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Write a line where it is time."""
        self._steps += 1
        now = self._ended = time.perf_counter()
        if trainer.global_step % self.every == 0:
            assert isinstance(module, ContrastiveModule)
            seconds = now - self._since
            self._write(
                step=trainer.global_step,
                train_loss=float(trainer.callback_metrics.get("train_loss", float("nan"))),
                lr=trainer.optimizers[0].param_groups[0]["lr"],
                images_per_second=round(self._steps * self.batch_size / seconds, 1),
                data_wait=round(self._waited / seconds, 3),
                logit_scale=round(float(module.model.scale().detach()), 3),
            )
            self._since, self._steps, self._waited = now, 0, 0.0

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the validation's figure; the clock leaves the validation out."""
        if not trainer.sanity_checking:
            self._write(
                step=trainer.global_step, val_top1=float(trainer.callback_metrics["val_top1"])
            )
        lost = time.perf_counter() - self._ended
        self._since += lost
        self._ended += lost

    def _write(self, **values: float) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            clean = {k: None if v != v else v for k, v in values.items()}
            file.write(json.dumps(clean) + "\n")
