"""Pictures that no step changes, seen by a tower that no step changes, are encoded once."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from tqdm import tqdm

from domainclip import paths
from domainclip.data.datamodule import PictureData
from domainclip.data.packed import fingerprint
from domainclip.model.digest import digest_weights
from domainclip.recipe.schema import Recipe

from .module import ContrastiveModule
from .processes import count_processes, process_rank


def fixed_features(recipe: Recipe) -> bool:
    """Return whether the image features of a run are the same in every step."""
    return recipe.model.lock == "image" and not recipe.train.augment


def fix_features(
    module: ContrastiveModule, data: PictureData, recipe: Recipe, device: str, progress: bool
) -> Tensor | None:
    """Return the features of all pictures that steps draw from, where they stay the same.

    The training pictures themselves are then left out of the batches of `data`. Features are kept
    in the cache folder, so that the next run of the same tower on the same pictures reads them; of
    several processes each computes its share anew.

    Args:
        module: Holds the model.
        data: The pictures.
        recipe: The recipe, with the precision found.
        device: "cpu", "cuda" or "mps".
        progress: Draw a progress bar and a note on standard error.
    """
    if not fixed_features(recipe):
        if progress and recipe.model.lock == "image":
            print(
                "the image tower is locked, and pictures are augmented: it encodes a batch at each "
                "step; with --train.augment false features are computed once",
                file=sys.stderr,
            )
        return None
    precision = recipe.train.precision
    file = feature_file(module, data, device, precision) if count_processes() == 1 else None
    features = _read(file, len(data.drawn)) if file else None
    if progress:
        print(
            "the image tower is locked and nothing is augmented: features are "
            + ("computed once" if features is None else f"read from {file}"),
            file=sys.stderr,
        )
    if features is None:
        features = compute_features(
            module, data, device=device, precision=precision, progress=progress
        )
        if file:
            _keep(file, features)
    data.blind = True
    return features


def feature_file(module: ContrastiveModule, data: PictureData, device: str, precision: str) -> Path:
    """Return where the features of these pictures under this tower are kept.

    Args:
        module: Holds the model.
        data: The pictures.
        device: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16".
    """
    seen = module.model.preprocess
    pictures = [data.parts["pictures"], data.parts.get("replay"), data.drawn.ids]
    tower = [digest_weights(module.model.clip.visual), seen.size, seen.mean, seen.std]
    name = fingerprint(*pictures, *tower, data.side, device, precision, torch.__version__)
    return paths.cache_dir("features") / f"{name}.safetensors"


def _read(file: Path, count: int) -> Tensor | None:
    """Return kept features; None where there are none, or they cannot be used."""
    try:
        features = load_file(file)["features"]
    except (OSError, KeyError, SafetensorError):
        return None
    return features if len(features) == count else None


def _keep(file: Path, features: Tensor) -> None:
    """Write features whole or not at all; a full disk costs no run."""
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"features": features}, partial)
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        print(f"warning: the features cannot be kept: {error}", file=sys.stderr)


@torch.no_grad()
def compute_features(
    module: ContrastiveModule,
    data: PictureData,
    *,
    device: str,
    precision: str,
    progress: bool,
) -> Tensor:
    """Return pooled image features, shape (n, width), float32, as training would compute them.

    Several processes compute a share each, and all get the whole.

    Args:
        module: Holds the model, whose image tower is locked.
        data: The pictures; those that steps draw from are encoded, in order.
        device: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16".
        progress: Draw a progress bar on standard error.
    """
    module.to(device)
    n, world = len(data.drawn), count_processes()
    shares = [range(rank * n // world, (rank + 1) * n // world) for rank in range(world)]
    found = []
    bar = tqdm(
        data.loader("drawn", shares[process_rank()]),
        desc="image features", unit=" batches", file=sys.stderr, disable=not progress,
    )  # fmt: skip
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        for batch in bar:
            pooled = module.model.pool(module.normalise(batch.pixels.to(device)))
            found.append(pooled.float().cpu())
    return torch.cat(found) if world == 1 else _exchange(found, shares, device)


def _exchange(found: list[Tensor], shares: list[range], device: str) -> Tensor:
    """Return the rows of all processes, each sent in turn: one share at a time is on the device."""
    width = torch.tensor(found[0].shape[1] if found else 0, device=device)
    distributed.all_reduce(width, distributed.ReduceOp.MAX)
    whole = torch.empty(shares[-1].stop, int(width))
    for rank, rows in enumerate(shares):
        if not len(rows):
            continue
        mine = rank == process_rank()
        part = torch.cat(found) if mine else torch.empty(len(rows), int(width))
        part = part.to(device)
        distributed.broadcast(part, src=rank)
        whole[rows.start : rows.stop] = part.cpu()
    return whole
