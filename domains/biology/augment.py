"""Training augmentation for photographs of living things."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any


def augment(size: int, crop: float = 0.7) -> Callable[..., Mapping[str, Any]]:
    """Return a transform from uint8 pictures, a margin larger than `size`, to (size, size, 3).

    At least the share `crop` of the area is kept.

    Pictures are mirrored and turned a little; hue moves hardly, since colour tells species apart.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it calls the network at import
    import albumentations as A
    import cv2

    transform: Callable[..., Mapping[str, Any]] = A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(crop, 1.0), ratio=(0.9, 1.11)),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=0.3),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.5),
        ]
    )
    return transform
