"""Batch statistics of weights that were never trained, such as a mixture's or an average's."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from domainclip.data.datamodule import PictureData
from domainclip.model.clip import DomainClip

from .module import ContrastiveModule

PICTURES = 4096
"""Training pictures that are looked at; of more, every second, third and so on."""


@torch.no_grad()
def renew_statistics(module: ContrastiveModule, data: PictureData, device: str) -> None:
    """Take the batch statistics of the image tower anew, from training pictures as they are.

    Weights between two trained ones have statistics of their own, which are not between theirs:
    as for averaged weights (Izmailov et al. 2018, arXiv:1803.05407, section 3.2), one pass over the
    data finds them. Norms that are held keep theirs.

    Args:
        module: Holds the model, in eval mode.
        data: The training pictures.
        device: "cpu", "cuda" or "mps".
    """
    norms = [*_batch_norms(module.model)]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
        if isinstance(norm, nn.SyncBatchNorm):  # one process looks, the others wait for it
            norm.forward = MethodType(_BatchNorm.forward, norm)  # type: ignore[method-assign]
    try:
        count = len(data.splits["train"])
        for batch in data.loader("train", range(0, count, max(1, -(-count // PICTURES)))):
            if len(batch.pixels) > 1:  # one picture alone has no variance
                module.model.pool(module.normalise(batch.pixels.to(device)))
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.eval()
            vars(norm).pop("forward", None)


def _batch_norms(model: DomainClip) -> Iterator[_BatchNorm]:
    """Yield the batch norms of the image tower that follow the pictures."""
    held = {part for module in model.held for part in module.modules()}
    for part in model.clip.visual.modules():
        if isinstance(part, _BatchNorm) and part.track_running_stats and part not in held:
            yield part
