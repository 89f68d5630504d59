"""Checkpoints on disk: whole ones only, whenever a run is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST, BEST = "last", "best"


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return where a run folder keeps a checkpoint: `LAST` to go on from, `BEST` by validation."""
    return folder / "checkpoints" / f"{name}.ckpt"


def step_of(checkpoint: Path | None) -> int:
    """Return how many steps a checkpoint has behind it; 0 for none."""
    if checkpoint is None:
        return 0
    return int(torch.load(checkpoint, map_location="cpu", weights_only=False)["global_step"])


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
