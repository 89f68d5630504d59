"""Smaller pictures in the first part of a run: most of what is learned there costs less than half.

Tan and Le 2021, EfficientNetV2 (arXiv:2104.00298), section 4, in two stages; that a tower goes on
well at a larger size is shown by Touvron et al. 2019 (arXiv:1906.06423).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from domainclip.errors import UsageError
from domainclip.model.clip import DomainClip

_MULTIPLE = 16
"""Sides are multiples of it, so that strides of a tower divide them."""


def small_side(size: int) -> int:
    """Return the side that small pictures have, about two thirds, for one of `size` pixels."""
    return min(size, max(_MULTIPLE, round(2 * size / 3 / _MULTIPLE) * _MULTIPLE))


def side_at(step: int, steps: int, small: float, size: int) -> int:
    """Return the side in pixels at which a step sees its pictures.

    Args:
        step: Number of the step, from 0.
        steps: Steps of the whole run.
        small: Share of the run that sees small ones.
        size: Side of whole ones in pixels.
    """
    return small_side(size) if step < round(small * steps) else size


def shrink(pixels: Tensor, side: int) -> Tensor:
    """Return pictures of shape (n, 3, s, s) as (n, 3, side, side), each pixel a weighted mean."""
    if pixels.shape[-1] == side:
        return pixels
    given = pixels if pixels.device.type == "cpu" else pixels.float()  # only there as uint8
    found = functional.interpolate(given, size=(side, side), mode="bilinear", antialias=True)
    return found if found.dtype == pixels.dtype else found.round().to(pixels.dtype)


def require_any_size(model: DomainClip) -> None:
    """Try a small picture on the image tower.

    Raises:
        UsageError: If it takes pictures of one size only, as most transformers do.
    """
    side, training = small_side(model.preprocess.size), model.training
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval().pool(torch.zeros(1, 3, side, side, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"train.small: the image tower takes pictures of {model.preprocess.size} pixels alone",
            "leave it out, or name a convolutional tower such as small or RN50",
        ) from error
    finally:
        model.train(training)
