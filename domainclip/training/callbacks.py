"""What happens beside training: the line of metrics, the progress bar, the end by Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from tqdm import tqdm

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


class StopOnSignal(L.Callback):
    """Ends training after the step in hand when Ctrl-C or SIGTERM comes; twice ends at once."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Take the signals, where this is the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._stop)
            except ValueError:
                return

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        print("\nstopping after this step; once more stops at once", file=sys.stderr)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Ask the trainer to stop."""
        if self.stopped:
            trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
