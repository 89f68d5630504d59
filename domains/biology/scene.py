"""Where a butterfly sits and in what light: backgrounds, light, colour cast, blur and noise."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

GROUNDS: dict[str, tuple[tuple[int, int, int], float, float]] = {
    "green leaf": ((84, 146, 62), 26, 8),
    "pink flower": ((88, 126, 70), 34, 10),
    "bare soil": ((168, 134, 98), 26, 34),
    "grey rock": ((150, 150, 146), 26, 22),
    "white sheet": ((228, 228, 224), 8, 3),
    "blue sky": ((150, 196, 236), 14, 2),
}
"""Per background: mean colour, contrast of its large blotches, contrast of its grain."""
BACKGROUNDS = tuple(GROUNDS)


def paint_background(name: str, rng: np.random.Generator, size: int) -> Pixels:
    """Return a background of shape (size, size, 3)."""
    colour, blotch, grain = GROUNDS[name]
    tint = np.asarray(colour, np.float32) * rng.uniform(0.8, 1.12)
    large = rng.uniform(-blotch, blotch, (4, 4, 1)) + rng.uniform(-8, 8, (4, 4, 3)) + tint
    fine = rng.uniform(-grain, grain, (26, 26)).astype(np.float32)
    blotches = cv2.resize(large.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    grains = cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)
    canvas: Pixels = np.clip(blotches + grains[..., None], 0, 255).astype(np.uint8)
    {
        "green leaf": _leaf,
        "pink flower": _flower,
        "bare soil": _pebbles,
        "grey rock": _cracks,
        "white sheet": _fold,
        "blue sky": _clouds,
    }[name](canvas, rng, size)
    return canvas


def _leaf(canvas: Pixels, rng: np.random.Generator, size: int) -> None:
    """A midrib with side veins."""
    angle, vein = rng.uniform(0, 2 * np.pi), (150, 196, 112)
    ahead = np.asarray([np.cos(angle), np.sin(angle)])
    middle = rng.uniform(0.3, 0.7, 2) * size
    _stroke(canvas, middle - ahead * size, middle + ahead * size, vein, size / 36)
    for step in np.arange(-0.9, 1.0, 0.26):
        root = middle + ahead * step * size
        for side in (0.9, -0.9):
            turn = np.asarray([np.cos(angle + side), np.sin(angle + side)])
            _stroke(canvas, root, root + turn * size, vein, size / 80)


def _flower(canvas: Pixels, rng: np.random.Generator, size: int) -> None:
    """Broad petals around a yellow disc."""
    middle, start = rng.uniform(0.25, 0.75, 2) * size, rng.uniform(0, 360)
    petal = np.asarray([226, 112, 176]) + rng.integers(-22, 23, 3)
    for index in range(8):
        angle = start + index * 45
        turn = np.radians(angle)
        centre = middle + np.asarray([np.cos(turn), np.sin(turn)]) * size * 0.36
        shade = np.clip(petal * (0.9 if index % 2 else 1.04), 0, 255)
        axes = (round(size * 0.36), round(size * 0.16))
        cv2.ellipse(canvas, _whole(centre), axes, angle, 0, 360, _colour(shade), -1, cv2.LINE_AA)
    cv2.circle(canvas, _whole(middle), round(size * 0.1), (226, 190, 70), -1, cv2.LINE_AA)


def _pebbles(canvas: Pixels, rng: np.random.Generator, size: int) -> None:
    """Small stones with a shaded side."""
    for x, y, radius, light in rng.uniform(0, 1, (14, 4)):
        centre, reach = np.asarray([x, y]) * size, size * (0.012 + 0.03 * radius)
        tone = np.asarray([150, 124, 96]) * (0.75 + 0.5 * light)
        cv2.circle(canvas, _whole(centre + reach / 3), round(reach), (104, 80, 58), -1, cv2.LINE_AA)
        cv2.circle(canvas, _whole(centre), round(reach), _colour(tone), -1, cv2.LINE_AA)


def _cracks(canvas: Pixels, rng: np.random.Generator, size: int) -> None:
    """Dark cracks and pale lichen."""
    for x, y, radius in rng.uniform(0, 1, (5, 3)):
        centre = _whole(np.asarray([x, y]) * size)
        reach = round(size * (0.02 + 0.06 * radius))
        cv2.circle(canvas, centre, reach, (178, 182, 160), -1, cv2.LINE_AA)
    for _ in range(2):
        path = np.cumsum(rng.uniform(-0.12, 0.32, (6, 2)), axis=0) * size
        if rng.random() < 0.5:
            path[:, 0] = size - path[:, 0]
        for a, b in pairwise(path):
            _stroke(canvas, a, b, (92, 92, 90), size / 56)


def _fold(canvas: Pixels, rng: np.random.Generator, size: int) -> None:
    """One soft crease."""
    a, b = rng.uniform(0, size, 2), rng.uniform(0, size, 2)
    _stroke(canvas, a + (a - b) * 3, b + (b - a) * 3, (206, 206, 204), size / 40)


def _clouds(canvas: Pixels, rng: np.random.Generator, size: int) -> None:
    """A few white puffs, softened."""
    for x, y, radius in rng.uniform(0, 1, (7, 3)):
        reach = (round(size * (0.1 + 0.12 * radius)), round(size * 0.07))
        place = _whole(np.asarray([x, y]) * size)
        cv2.ellipse(canvas, place, reach, 0, 0, 360, (236, 242, 248), -1, cv2.LINE_AA)
    width = max(1, size // 12)
    cv2.blur(canvas, (width, width), canvas)


def _stroke(
    canvas: Pixels,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    colour: tuple[int, int, int],
    width: float,
) -> None:
    cv2.line(canvas, _whole(a), _whole(b), colour, max(1, round(width)), cv2.LINE_AA)


def _whole(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _colour(values: NDArray[np.float64]) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in values)
    return r, g, b


def expose(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the picture as a camera may have taken it: light, colour cast, blur and noise."""
    size = pixels.shape[0]
    softness = rng.uniform(0.0, 0.006) * size
    blurred = cv2.GaussianBlur(pixels, (0, 0), softness) if softness > 0.3 else pixels
    slope = rng.uniform(0.82, 1.18, (2, 2)).astype(np.float32)
    light = cv2.resize(slope, (size, size), interpolation=cv2.INTER_LINEAR)
    cast = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.7, 1.18)
    gain = light[..., None] * cast.astype(np.float32)
    noise = rng.standard_normal((size, size), np.float32) * np.float32(rng.uniform(1, 6))
    shot = blurred * gain + noise[..., None]
    haze = rng.uniform(0, 20)
    exposed: Pixels = np.clip(shot + haze, 0, 255).astype(np.uint8)
    return exposed
