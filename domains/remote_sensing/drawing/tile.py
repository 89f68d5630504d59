"""Composes a tile: ground, water, roads, buildings, objects, plants; then air, sensor and noise."""

from __future__ import annotations

import cv2
import numpy as np

from domainclip.domains.contract import Traits

from . import buildings, objects, plants, roads, water
from .canvas import FREE, Canvas, Pixels
from .ground import paint_ground

cv2.setNumThreads(1)  # tiles are drawn by many processes at once; threads inside would only compete

_LAYERS = (
    ("water", water.PAINTERS),
    ("roads", roads.PAINTERS),
    ("objects", objects.PAINTERS),
    ("buildings", buildings.PAINTERS),
    ("plants", plants.PAINTERS),
)


def draw_tile(traits: Traits, rng: np.random.Generator, size: int) -> Pixels:
    """Draw one tile of shape (size, size, 3), seen straight from above.

    Args:
        traits: All traits of the sheet and of the individual.
        rng: Draws what no trait says: turn, offset, scale, tints, blur, noise.
        size: Side in pixels.
    """
    turn = 45.0 if traits["direction"] == "diagonal" else 0.0
    angle = np.radians(turn + 90 * rng.integers(4) + rng.uniform(-11, 11))
    zoom = rng.uniform(0.88, 1.14)
    reach = {"low": 1.15, "high": 0.4}[traits["sun"]]
    fall = rng.uniform(0, 2 * np.pi)
    corner = (rng.uniform(), rng.uniform())
    ground = paint_ground(traits, rng, size, float(angle), zoom, corner)
    canvas = Canvas(
        pixels=cv2.resize(ground, (2 * size, 2 * size)).astype(np.uint8, copy=False),
        use=np.full((2 * size, 2 * size), FREE, np.uint8),
        angle=float(angle),
        zoom=zoom,
        corner=corner,
        shadow=(reach * float(np.cos(fall)), reach * float(np.sin(fall))),
        season=traits["season"],
        rng=rng,
    )
    for trait, painters in _LAYERS:
        paint = painters[traits[trait]]
        if paint is not None:
            paint(canvas)
    small = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA)
    pixels = _sense(small.astype(np.uint8, copy=False), traits["air"], rng)
    return _add_clouds(pixels, rng) if traits["sky"] == "cloudy" else pixels


def _add_clouds(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Lay a few small soft clouds over the tile, never over much of it."""
    size = len(pixels)
    veil = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(2, 4))):
        x, y = rng.uniform(0, size, 2)
        for _ in range(5):
            dx, dy = rng.normal(0, 0.045 * size, 2)
            radius = rng.uniform(0.03, 0.06) * size
            cv2.circle(veil, (round(x + dx), round(y + dy)), max(1, round(radius)), 1.0, -1)
    veil = cv2.GaussianBlur(veil, (0, 0), 0.022 * size)[..., None] * np.float32(0.92)
    mixed: Pixels = (pixels + veil * (np.float32(246) - pixels)).astype(np.uint8)
    return mixed


def _sense(pixels: Pixels, air: str, rng: np.random.Generator) -> Pixels:
    """Apply haze, light, white balance, blur and noise, as the air and the sensor do."""
    levels = np.arange(256, dtype=np.float64)
    warmth, green = rng.normal(0, 0.1), rng.normal(0, 0.04)
    gains = np.exp(rng.normal(-0.06, 0.17) + np.array([warmth - green, green, -warmth - green]))
    veil = rng.uniform(0.3, 0.45) if air == "hazy" else rng.uniform(0, 0.05)
    haze = np.array([196.0, 204.0, 212.0]) + rng.normal(0, 14, 3)
    gamma = np.exp(rng.normal(0, 0.16))
    curve = 255 * (np.clip(levels[:, None] * gains / 255, 0, 1) ** gamma)
    table = np.clip(curve * (1 - veil) + haze * veil, 0, 255).astype(np.uint8)
    sensed = cv2.LUT(pixels, table[None])
    if rng.random() < 0.5:
        sensed = cv2.GaussianBlur(sensed, (0, 0), rng.uniform(0.3, 0.65) * len(pixels) / 96)
    grain = rng.integers(-1, 2, sensed.shape, np.int8).astype(np.int16) * int(rng.integers(1, 6))
    noisy: Pixels = np.clip(sensed + grain, 0, 255).astype(np.uint8)
    return noisy
