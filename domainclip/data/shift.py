"""Shifts a picture as another camera, place and day would: light, haze, noise, focus and pose."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SHIFT = "shift 1"
"""Raise the number when shifted pictures come to look different: caches are then made anew."""


def shift_picture(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture as if taken under other conditions; what it shows stays as it is.

    The frame is turned and moved a little, light gets another colour and falls off to the corners,
    haze takes contrast, and the sensor blurs and adds noise. Each picture draws its own strengths.

    Args:
        pixels: uint8, shape (size, size, 3).
        rng: Draws the strengths.
    """
    size = len(pixels)
    turned = cv2.warpAffine(pixels, _pose(size, rng), (size, size), borderMode=cv2.BORDER_REFLECT)
    image = np.power(turned.astype(np.float64) / 255, np.exp(rng.uniform(-0.45, 0.45)))  # gamma
    warmth, tint = rng.uniform(-0.2, 0.2), rng.uniform(-0.08, 0.08)
    image *= np.array([1 + warmth, 1 + tint, 1 - warmth]) * rng.uniform(0.7, 1.15)
    image *= _falloff(size, rng)[..., None]
    haze = rng.uniform(0.05, 0.4)
    image = (1 - haze) * image + haze * rng.uniform(0.5, 0.7, 3)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.003, 0.014) * size)
    image = image + rng.normal(0, rng.uniform(0.01, 0.05), image.shape)
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), dtype=np.uint8)


def _pose(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return an affine map that turns, scales and moves a picture of this side, shape (2, 3)."""
    middle = (size - 1) / 2
    degrees, scale = rng.uniform(-25, 25), rng.uniform(0.8, 1.1)
    turn = np.asarray(cv2.getRotationMatrix2D((middle, middle), degrees, scale), np.float64)
    turn[:, 2] += rng.uniform(-0.06, 0.06, 2) * size
    return turn


def _falloff(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how much light falls on each pixel, darker away from a drawn centre: (size, size)."""
    y, x = np.mgrid[:size, :size] / size - rng.uniform(0.25, 0.75, 2)[:, None, None]
    return np.asarray(1 - rng.uniform(0.2, 0.9) * (x**2 + y**2), dtype=np.float64)
