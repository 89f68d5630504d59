"""Trees: alone, in rows, in clumps or as a closed canopy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import Canvas, Colour, Floats, boxes, lattice, random_floats, seasonal

CROWNS: dict[str, Colour] = {"green": (58, 94, 46), "dry": (96, 98, 52), "snow": (92, 100, 88)}
SHADOW: Colour = (38, 44, 34)


def _crowns(canvas: Canvas, centres: Floats, radii: Floats) -> None:
    """Paint trees where the ground is free: shadow, crown and the crown's lit side."""
    radii = radii * np.float32(canvas.zoom)
    free = canvas.clear(boxes(centres, 1.5 * radii, 1.5 * radii))
    centres, radii = centres[free], radii[free]
    colour = canvas.shade(seasonal(CROWNS, canvas.season), spread=8)
    canvas.disc(centres, radii, SHADOW, lift=0.9)
    shades = canvas.rng.integers(3, size=len(centres))
    for k, light in enumerate((0.86, 1.0, 1.16)):
        chosen = shades == k
        canvas.disc(centres[chosen], radii[chosen], canvas.shade(colour, light))
        lit = radii[chosen] * np.float32(0.55)
        canvas.disc(centres[chosen], lit, canvas.shade(colour, light * 1.4), lift=-0.3)


def _scattered(canvas: Canvas) -> None:
    spots = lattice(0.125, 0.125, random_floats(canvas.rng, 0, 1, 2))
    spots += random_floats(canvas.rng, -0.05, 0.05, *spots.shape)
    spots = spots[canvas.rng.random(len(spots)) < 0.6]
    _crowns(canvas, spots, random_floats(canvas.rng, 0.02, 0.032, len(spots)))


def _rows(canvas: Canvas) -> None:
    spots = lattice(0.056 * canvas.zoom, 0.165 * canvas.zoom, random_floats(canvas.rng, 0, 1, 2))
    radii = random_floats(canvas.rng, 0.023, 0.027, len(spots))
    _crowns(canvas, spots, radii)


def _clumps(canvas: Canvas) -> None:
    rng = canvas.rng
    middles = lattice(0.3, 0.3, random_floats(rng, 0, 1, 2))
    middles += random_floats(rng, -0.05, 0.05, *middles.shape)
    middles = middles[rng.random(len(middles)) < 0.75]
    turn = random_floats(rng, 0, 2 * np.pi, len(middles), 14)
    away = np.sqrt(random_floats(rng, 0, 1, len(middles), 14)) * np.float32(0.085 * canvas.zoom)
    spots = middles[:, None] + np.stack([away * np.cos(turn), away * np.sin(turn)], axis=-1)
    spots = spots.reshape(-1, 2).astype(np.float32)
    _crowns(canvas, spots, random_floats(rng, 0.026, 0.038, len(spots)))


def _canopy(canvas: Canvas) -> None:
    spacing = 0.062 * canvas.zoom
    spots = lattice(spacing, spacing, random_floats(canvas.rng, 0, 1, 2))
    spots += random_floats(canvas.rng, -0.018, 0.018, *spots.shape)
    _crowns(canvas, spots, random_floats(canvas.rng, 0.034, 0.048, len(spots)))


PAINTERS: dict[str, Callable[[Canvas], None] | None] = {
    "none": None,
    "scattered": _scattered,
    "rows": _rows,
    "clumps": _clumps,
    "canopy": _canopy,
}
"""Every value of the trait `plants`, and what paints it."""
