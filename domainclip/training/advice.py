"""What a recipe or a run's own figures warn of, each in a line that says what to change."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from tqdm import tqdm

from domainclip.recipe.schema import Recipe

from .metrics import MetricsLog
from .optimizer import warmup_steps

MOST_WAIT, TIMED = 0.3, 50
"""The share of the time for batches above which the loader is slow, after so many steps."""
GENTLE_LR = 1e-4
"""A pretrained model whose image tower is trained whole loses what it knows above this."""


def advise_recipe(recipe: Recipe, pretrained: bool) -> list[str]:
    """Return what a resolved recipe warns of.

    Args:
        recipe: With learning rate, warm-up and steps.
        pretrained: Whether the weights that it starts from are pretrained.
    """
    lines: list[str] = []
    steps, lr = recipe.train.steps or 1, recipe.optim.lr or 0.0
    rise = warmup_steps(recipe.optim.warmup or 0.0, steps)
    if rise > 1 and 2 * rise > steps:
        lines.append(
            f"warm-up takes {rise} of {steps} steps, and the learning rate is hardly at its peak; "
            "lower optim.warmup, or train longer"
        )
    adapted = recipe.model.lora > 0 or recipe.model.lock == "image"
    if pretrained and not adapted and lr > GENTLE_LR:
        lines.append(
            f"optim.lr {lr:g} is a rate for training from nothing and makes a pretrained model "
            "forget; 1e-5 is usual"
        )
    if recipe.model.lock != "none" and not pretrained:
        lines.append(
            f"model.lock holds the {recipe.model.lock} tower, which was never trained; "
            "name a pretrained model by model.name"
        )
    return lines


def advise_loader(waited: float, worked: float, steps: int, workers: int | None) -> list[str]:
    """Return what the time of the steps warns of.

    Args:
        waited: Seconds that the steps waited for batches.
        worked: Seconds that they took in all.
        steps: How many they were.
        workers: `data.workers` of the recipe.
    """
    if steps < TIMED or waited <= MOST_WAIT * worked:
        return []
    return [
        f"{waited / worked:.0%} of the time goes by waiting for batches; raise data.workers "
        f"({'unset' if workers is None else workers}), or let pictures be packed (data.streaming "
        "false, a larger data.cache_gb)"
    ]


class LoaderAdvice(L.Callback):
    """Says once in a run that its loader is too slow."""

    def __init__(self, figures: MetricsLog, workers: int | None, progress: bool) -> None:
        self.figures, self.workers, self.progress = figures, workers, progress
        self.lines: list[str] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Look at the time that the steps took so far."""
        if self.lines:
            return
        found = self.figures
        self.lines = advise_loader(found.waited, found.worked, found.timed, self.workers)
        if self.progress:
            for line in self.lines:
                tqdm.write(f"warning: {line}", file=sys.stderr)
