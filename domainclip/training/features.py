"""Pictures that no step changes, seen by a tower that no step changes, are encoded once."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm import tqdm

from domainclip.data.batches import Batch
from domainclip.data.datamodule import PictureData
from domainclip.recipe.schema import Recipe

from .module import ContrastiveModule


def fixed_features(recipe: Recipe) -> bool:
    """Return whether the image features of a run are the same in every step."""
    return recipe.model.lock == "image" and not recipe.train.augment


def fix_features(
    module: ContrastiveModule, data: PictureData, recipe: Recipe, device: str, progress: bool
) -> Tensor | None:
    """Return the features of all pictures that steps draw from, where they stay the same.

    The training pictures themselves are then left out of the batches of `data`. Features are kept
    in memory only; a run that is taken up computes them again.

    Args:
        module: Holds the model.
        data: The pictures.
        recipe: The recipe, with the precision found.
        device: "cpu", "cuda" or "mps".
        progress: Draw a progress bar and a note on standard error.
    """
    if not fixed_features(recipe):
        return None
    if progress:
        print(
            "the image tower is locked and nothing is augmented: features are computed once",
            file=sys.stderr,
        )
    precision = recipe.train.precision
    features = compute_features(
        module, data.loader("drawn"), device=device, precision=precision, progress=progress
    )
    data.blind = True
    return features


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
