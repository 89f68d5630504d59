"""The figures of a run as it goes: `metrics.jsonl`, the same as `metrics.csv`, and loggers."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from .memory import peak_memory_mb
from .module import ContrastiveModule

COLUMNS = (
    "step", "train_loss", "lr", "grad_norm", "images_per_second", "data_wait", "memory_mb",
    "seconds_left", "logit_scale", "val_top1", "val_recall1",
)  # fmt: skip


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl`; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def find_validation(trainer: L.Trainer) -> dict[str, float]:
    """Return the figure of the last validation by its name; {} before the first."""
    found = trainer.callback_metrics
    return {name: float(found[name]) for name in ("val_top1", "val_recall1") if name in found}


class MetricsLog(L.Callback):
    """Writes `metrics.jsonl`: one line every few steps and one at each validation.

    Lines hold what `COLUMNS` names: `data_wait` is the share of the time spent waiting for batches,
    `memory_mb` the most memory so far (of the process, or on the GPU), `seconds_left` counts
    validations in, and `val_top1`, or without labels `val_recall1`, comes at a validation.
    `metrics.csv` is written anew at each validation and at the end.

    Args:
        path: The file of lines.
        batch_size: Pictures per step, of all devices.
        steps: Steps of the whole run.
        every: Steps from one line to the next.
        loggers: Get the same figures.
    """

    def __init__(
        self,
        path: Path,
        batch_size: int,
        steps: int,
        every: int = 20,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.path, self.batch_size, self.every = path, batch_size, every
        self.steps, self.loggers = steps, loggers
        self.timed = 0
        """Steps since the run began or went on."""
        self.waited, self.worked = 0.0, 0.0
        """Seconds that these steps waited for batches, and that they took in all."""
        self._first = self._ended = time.perf_counter()
        self._line = (0, 0.0, 0.0)
        self._validated = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock, and drop lines past the step that a resumed run goes on from."""
        if self.path.exists() and trainer.is_global_zero:
            kept = [x for x in read_history(self.path) if x["step"] <= trainer.global_step]
            self.path.write_text("".join(f"{json.dumps(x)}\n" for x in kept), encoding="utf-8")
        self._first = self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        """Count the wait for the batch, but after a validation, when checkpoints are written."""
        now = time.perf_counter()
        if self._validated:
            self._validated, self._ended = False, now
        self.waited += now - self._ended

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Write a line where it is time."""
        self.timed += 1
        now = time.perf_counter()
        self.worked += now - self._ended
        self._ended = now
        if trainer.global_step % self.every == 0:
            assert isinstance(module, ContrastiveModule)
            steps, waited, worked = self._line
            seconds = self.worked - worked
            left = (self.steps - trainer.global_step) * (now - self._first) / self.timed
            self._write(
                trainer,
                train_loss=float(trainer.callback_metrics.get("train_loss", float("nan"))),
                lr=max(group["lr"] for group in trainer.optimizers[0].param_groups),
                grad_norm=float(module.guard.norm),
                images_per_second=round((self.timed - steps) * self.batch_size / seconds, 1),
                data_wait=round((self.waited - waited) / seconds, 3),
                memory_mb=round(peak_memory_mb(module.device.type)),
                seconds_left=round(left),
                logit_scale=round(float(module.model.scale().detach()), 3),
            )
            self._line = (self.timed, self.waited, self.worked)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the validation's figure; what the steps took leaves the validation out."""
        if not trainer.sanity_checking:
            self._write(trainer, **find_validation(trainer))
            self.write_table(trainer)
        self._validated = True

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the table."""
        self.write_table(trainer)

    def write_table(self, trainer: L.Trainer) -> None:
        """Write `metrics.csv` beside the lines, with their rows."""
        if trainer.is_global_zero:
            text = io.StringIO()
            table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(read_history(self.path))
            self.path.with_suffix(".csv").write_text(text.getvalue(), encoding="utf-8")

    def _write(self, trainer: L.Trainer, **values: float) -> None:
        if not trainer.is_global_zero:
            return
        clean = {k: None if v != v else v for k, v in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": trainer.global_step, **clean}) + "\n")
        for logger in self.loggers:
            logger.log_metrics(
                {k: v for k, v in clean.items() if v is not None}, trainer.global_step
            )
