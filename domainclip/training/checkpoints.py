"""Checkpoints on disk: whole ones only, whenever a run is killed."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from .guard import finite_weights
from .processes import agree

LAST, BEST = "last", "best"


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return where a run folder keeps a checkpoint: `LAST` to go on from, `BEST` by validation."""
    return folder / "checkpoints" / f"{name}.ckpt"


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Return a checkpoint as it was written, on the CPU."""
    return dict(torch.load(checkpoint, map_location="cpu", weights_only=False))


def step_of(checkpoint: Path) -> int:
    """Return how many steps a checkpoint has behind it."""
    return int(read_checkpoint(checkpoint)["global_step"])


class RunCheckpoints(Checkpoint):
    """Keeps the best weights of a run and the state to go on from, and ends it by patience.

    Lightning calls it after all other callbacks, so that `LAST` has what they know of a validation.
    Its own callback is not used: it forgets the best score where the run folder was moved, each
    process decides by its own score, and it writes weights that are not finite over good ones.

    Args:
        folder: The run folder.
        patience: Validations without a better one after which the run ends; 0 for no end.
    """

    def __init__(self, folder: Path, patience: int = 0) -> None:
        self.folder, self.patience = folder, patience
        self.best = -math.inf
        """Score of the weights in `BEST`."""
        self.waited = 0
        """Validations since then."""

    @property
    def exhausted(self) -> bool:
        """Whether there were so many validations without a better one that the run is over."""
        return 0 < self.patience <= self.waited

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep the weights where they are better, by the score of the first process."""
        if finite_weights(module):
            score = agree(float(trainer.callback_metrics["val_score"]))
            self.waited = 0 if score > self.best else self.waited + 1
            if score > self.best:
                self.best = score
                trainer.save_checkpoint(checkpoint_path(self.folder, BEST), weights_only=True)
            self.keep_last(trainer)
        if self.exhausted:
            trainer.should_stop = True

    def keep_last(self, trainer: L.Trainer) -> None:
        """Write what to go on from."""
        trainer.save_checkpoint(checkpoint_path(self.folder, LAST))

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Wait on."""
        self.best, self.waited = state_dict["best"], state_dict["waited"]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint and puts the new one in its place by one rename.

    Lightning's own writes to the folder for temporary files and moves from there: between two file
    systems that is a copy, which a kill can cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint and wait until it is on disk."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
