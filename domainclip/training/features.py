"""Pictures that no step changes, seen by a tower that no step changes, are encoded once."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm import tqdm

from domainclip.data.batches import Batch
from domainclip.recipe.schema import Recipe

from .module import ContrastiveModule


def fixed_features(recipe: Recipe) -> bool:
    """Return whether the image features of a run are the same in every step."""
    return recipe.model.lock == "image" and not recipe.train.augment


@torch.no_grad()
def compute_features(
    module: ContrastiveModule,
    batches: Iterable[Batch],
    *,
    device: str,
    precision: str,
    progress: bool,
) -> Tensor:
    """Return pooled image features, shape (n, width), float32, as training would compute them.

    Args:
        module: Holds the model, whose image tower is locked.
        batches: All pictures, in order.
        device: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16".
        progress: Draw a progress bar on standard error.
    """
    module.to(device)
    found = []
    bar = tqdm(
        batches, desc="image features", unit=" batches", file=sys.stderr, disable=not progress
    )
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        for batch in bar:
            pooled = module.model.pool(module.normalise(batch.pixels.to(device)))
            found.append(pooled.float().cpu())
    return torch.cat(found)
