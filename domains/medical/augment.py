"""Training augmentation for medical pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any


def augment(size: int, crop: float = 0.75) -> Callable[..., Mapping[str, Any]]:
    """Return a transform from uint8 pictures, a margin larger than `size`, to (size, size, 3).

    At least the share `crop` of the area is kept.

    It never flips: a flip moves the heart to the other side. Light and stain vary a little, as
    between two scanners.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it calls the network at import
    import albumentations as A
    import cv2

    transform: Callable[..., Mapping[str, Any]] = A.Compose(
        [
            A.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            A.RandomResizedCrop((size, size), scale=(crop, 1.0), ratio=(0.9, 1.1)),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.5),
            A.HueSaturationValue(8, 15, 0, p=0.3),
        ]
    )
    return transform
