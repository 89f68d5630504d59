"""Training augmentation for tiles: seen from above, a tile has no upright side."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any


def augment(size: int, crop: float = 0.7) -> Callable[..., Mapping[str, Any]]:
    """Return a transform from uint8 tiles, a margin larger than `size`, to (size, size, 3).

    At least the share `crop` of the area is kept.

    The turns are the eight of a square, which are exact and cost no resampling; all captions of the
    built-in tiles stay true under them.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it calls the network at import
    import albumentations as A

    transform: Callable[..., Mapping[str, Any]] = A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(crop, 1.0), ratio=(0.9, 1.11)),
            A.SquareSymmetry(p=1.0),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.5),
        ]
    )
    return transform
