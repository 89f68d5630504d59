"""The end of a run before its time: by Ctrl-C, or because no step comes through."""

from __future__ import annotations

import signal
import sys
from typing import Any

import lightning as L

from .processes import any_process


def end_now(trainer: L.Trainer) -> None:
    """End training after the step in hand, without the validation that Lightning adds to a stop.

    A run that goes on from there then keeps the same best checkpoint as one that never stopped.
    After the last step of all there is nothing to end.
    """
    if trainer.global_step >= trainer.max_steps:
        return
    trainer.should_stop = True
    if trainer.global_step % int(trainer.val_check_batch or 1):
        trainer.limit_val_batches = 0


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
        """Ask the trainer to stop, in all processes after the same step."""
        self.stopped = any_process(self.stopped)
        if self.stopped:
            end_now(trainer)

    def give_back(self) -> None:
        """Set the handlers that were there before; Lightning's own teardown misses failed runs."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
