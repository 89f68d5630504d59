"""Draws one schematic butterfly: wings posed on a background, body and antennae, then the light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Traits

from .scene import Pixels, expose, paint_background
from .wings import LEFT, TOP, paint_wings, thickness

Matrix = NDArray[np.float64]

DETAIL = 1.5
"""Pixels that wings are painted at per pixel of the picture, so that edges come out smooth."""
BODY = (44, 34, 32)

POSES = ("wings spread", "wings half open", "wings closed")


def draw(traits: Traits, rng: np.random.Generator, size: int) -> Pixels:
    """Return a picture of shape (size, size, 3), RGB, from the traits of a sheet and an individual.

    Args:
        traits: The sheet's traits with pose, sex, wear and background.
        rng: Decides everything that the traits leave open: jitter, rotation, place, scale, light.
        size: Side of the picture in pixels.
    """
    closed = traits["pose"] == "wings closed"
    full = size * (0.5 if closed else 0.45)
    length = full * rng.uniform(0.9, 1.08) * (0.9 if traits["tails"] == "long" else 1.0)
    wings = paint_wings(traits, rng, unit=DETAIL * full)
    tones = _tones(traits, rng)
    frame, sides = _pose(traits, rng, size, length)
    layer = _layer(wings, tones, frame, sides, DETAIL * full, size)
    picture = paint_background(traits["background"], rng, size)
    _blend(picture, layer, rng, size)
    _body(picture, frame, traits["sex"] == "female", closed, length)
    return expose(picture, rng)


def _tones(traits: Traits, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a table, shape (256, 3), that dulls a female's wings, fades worn ones, varies all."""
    share, towards = 0.0, np.zeros(3)
    if traits["sex"] == "female":
        share, towards = 0.2, np.asarray([92.0, 80.0, 72.0])
    if traits["wear"] == "worn":
        towards = (towards * share + np.asarray([168.0, 160.0, 150.0]) * 0.16) / (share + 0.16)
        share += 0.16
    gain = (1 - share) * rng.uniform(0.95, 1.05, 3)
    return np.arange(256)[:, None] * gain + towards * share


def _pose(
    traits: Traits, rng: np.random.Generator, size: int, length: float
) -> tuple[Matrix, tuple[tuple[float, float], ...]]:
    """Return the map from units to pixels, and per side its stretch across and its brightness."""
    jitter = rng.uniform(-0.045, 0.045, 2) * size
    if traits["pose"] == "wings closed":
        facing = 1.0 if rng.random() < 0.5 else -1.0
        angle = np.radians(-90 + rng.uniform(-22, 22))
        anchor = np.asarray([0.5, 0.84]) * size  # the body lies below the wings
        sides: tuple[tuple[float, float], ...] = ((1.0, 0.97),)
    else:
        facing, angle = 1.0, np.radians(rng.uniform(-36, 36))
        anchor = np.asarray([0.5, 0.5]) * size
        near = rng.uniform(0.94, 1.0), rng.uniform(0.94, 1.0)
        sides = ((near[0], 1.0), (-near[1], 1.0))
        if traits["pose"] == "wings half open":
            sides = ((rng.uniform(0.62, 0.8), 1.06), (-rng.uniform(0.62, 0.8), 0.8))
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = np.asarray([[facing, 0], [0, 1]]) @ turn * length
    # Centre the wings with their tails, rather than the body.
    middle = turn @ np.asarray([0.0, 0.16 if traits["tails"] == "long" else -0.04])
    return np.column_stack([turn, anchor + jitter - middle]), sides


def _layer(
    wings: Pixels,
    tones: NDArray[np.float64],
    frame: Matrix,
    sides: tuple[tuple[float, float], ...],
    unit: float,
    size: int,
) -> Pixels:
    """Return the posed wings as RGBA of shape (size, size, 4)."""
    layer = np.zeros((size, size, 4), np.uint8)
    table = np.empty((256, 1, 4), np.uint8)
    table[:, 0, 3] = np.arange(256)
    for stretch, light in sides:
        matrix = frame.copy()
        matrix[:, 0] *= stretch
        # From texture pixels to units: (pixel + 0.5) / unit - corner.
        corner = np.asarray([0.5 / unit - LEFT, 0.5 / unit - TOP])
        matrix[:, 2] += matrix[:, :2] @ corner - 0.5
        matrix[:, :2] /= unit
        table[:, 0, :3] = np.clip(tones * light, 0, 255)
        lit = cv2.LUT(wings, table)
        cv2.warpAffine(lit, matrix, (size, size), layer, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    return layer


def _blend(picture: Pixels, layer: Pixels, rng: np.random.Generator, size: int) -> None:
    """Lay the wings and their shadow on the background, in place."""
    alpha = layer[..., 3]
    fall = rng.uniform(0.01, 0.045, 2) * size * np.where(rng.random(2) < 0.5, -1, 1)
    shift = np.asarray([[1, 0, fall[0]], [0, 1, fall[1]]])
    width = max(3, size // 20) | 1
    shadow = cv2.blur(cv2.warpAffine(alpha, shift, (size, size)), (width, width))
    dark = 1 - shadow.astype(np.float32) * np.float32(0.5 / 255)
    cover = alpha.astype(np.float32) * np.float32(1 / 255)
    below = picture * (dark * (1 - cover))[..., None]
    picture[:] = below + layer[..., :3] * cover[..., None]


def _body(picture: Pixels, frame: Matrix, stout: bool, closed: bool, length: float) -> None:
    """Draw abdomen, thorax, head and antennae along the axis, in place."""

    def spot(x: float, y: float) -> tuple[int, int]:
        px, py = frame[:, :2] @ np.asarray([x, y]) + frame[:, 2]
        return round(float(px) * 16), round(float(py) * 16)

    def stroke(a: tuple[float, float], b: tuple[float, float], width: float) -> None:
        thick = thickness(width * length)
        cv2.line(picture, spot(*a), spot(*b), BODY, thick, cv2.LINE_AA, 4)

    bend = -0.05 if closed else 0.0
    stroke((bend, 0.02), (bend, 0.4), 0.18 if stout else 0.1)
    stroke((bend, -0.12), (bend, 0.06), 0.15)
    stroke((bend, -0.2), (bend, -0.19), 0.13)
    for side in (-0.5, 0.16) if closed else (-0.24, 0.24):
        stroke((bend, -0.2), (bend + side, -0.66), 0.025)
        stroke((bend + side, -0.66), (bend + side * 1.06, -0.69), 0.07)
