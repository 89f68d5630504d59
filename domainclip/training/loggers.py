"""Loggers beside the run's own files: TensorBoard, and Weights & Biases."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import flatten


def require_loggers(names: Sequence[str]) -> None:
    """Check that the packages of loggers are there.

    Raises:
        UsageError: If one is missing.
    """
    for name in names:
        if find_spec(name) is None:
            raise UsageError(
                f"train.loggers names {name}, whose package is not installed", f"pip install {name}"
            )


def open_loggers(recipe: Recipe, folder: Path, done: int) -> list[Logger]:
    """Return the loggers of a recipe; they write below the run folder.

    Weights & Biases sends nothing unless WANDB_API_KEY is set: then a run that goes on is one run
    there too.

    Args:
        recipe: Names the loggers.
        folder: The run folder.
        done: Steps that a run goes on from; what was logged past them is hidden.
    """
    loggers: list[Logger] = []
    for name in recipe.train.loggers:
        if name == "tensorboard":
            loggers.append(
                TensorBoardLogger(folder, name="", version="tensorboard", purge_step=done + 1)
            )
        else:
            loggers.append(_wandb(folder))
        loggers[-1].log_hyperparams({k: str(v) for k, v in flatten(recipe).items()})
    return loggers


def close_loggers(loggers: Sequence[Logger]) -> None:
    """Write out what loggers still hold."""
    for logger in loggers:
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _wandb(folder: Path) -> Logger:
    begun = (folder / "environment.json").read_bytes()
    logger: Logger = WandbLogger(
        name=folder.name,
        project="domainclip",
        save_dir=folder,
        id=hashlib.sha256(begun).hexdigest()[:16],
        resume="allow",
        offline="WANDB_API_KEY" not in os.environ,
        settings={"console": "off", "silent": True, "save_code": False, "disable_git": True},
    )
    return logger
