"""Buildings, each with its shadow and a roof of two slopes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import TAKEN, Canvas, Colour, Floats, boxes, free_sites, lattice, random_floats

ROOFS: tuple[Colour, ...] = (
    (176, 92, 68),
    (150, 84, 66),
    (128, 124, 124),
    (206, 196, 184),
    (122, 98, 84),
)
HALL_ROOFS: tuple[Colour, ...] = (
    (214, 216, 218),
    (188, 190, 192),
    (164, 178, 192),
    (206, 196, 182),
)
SHADOW: Colour = (44, 46, 52)
SNOWY: Colour = (232, 234, 238)


def _roof(canvas: Canvas, colour: Colour) -> Colour:
    """Return a roof's colour, with some snow on it in winter."""
    if canvas.season != "snow":
        return colour
    r, g, b = ((c + s) / 2 for c, s in zip(colour, SNOWY, strict=True))
    return r, g, b


def _houses(canvas: Canvas, centres: Floats, size: float) -> None:
    """Paint gabled houses, some along and some across the main direction."""
    rng = canvas.rng
    long = size * random_floats(rng, 0.95, 1.25, len(centres))
    wide = size * random_floats(rng, 0.7, 0.9, len(centres))
    turned = rng.random(len(centres)) < 0.35
    lengths, widths = np.where(turned, wide, long), np.where(turned, long, wide)
    outlines = boxes(centres, lengths, widths)
    # one slope faces the light: the half of a house on one side of its ridge
    off = np.where(turned, [lengths, 0 * widths], [0 * lengths, widths]).T / 4
    slopes = boxes(
        (centres - off).astype(np.float32),
        np.where(turned, lengths / 2, lengths),
        np.where(turned, widths, widths / 2),
    )
    free = canvas.clear(outlines)
    outlines, slopes = outlines[free], slopes[free]
    canvas.fill(outlines, SHADOW, lift=0.03)
    tints = rng.integers(len(ROOFS), size=len(outlines))
    for k, colour in enumerate(ROOFS):
        chosen = tints == k
        roof = _roof(canvas, canvas.shade(colour, spread=8))
        canvas.fill(outlines[chosen], canvas.shade(roof, 0.72), use=TAKEN)
        canvas.fill(slopes[chosen], canvas.shade(roof, 1.12))


def _few(canvas: Canvas) -> None:
    rng = canvas.rng
    spots = lattice(0.17, 0.17, random_floats(rng, 0, 1, 2))
    spots += random_floats(rng, -0.035, 0.035, *spots.shape)
    spots = spots[np.abs(spots).max(axis=1) < 0.5]
    rng.shuffle(spots)
    free = spots[canvas.clear(boxes(spots, 0.1, 0.1))]
    _houses(canvas, free[: int(rng.integers(7, 10))], 0.085 * canvas.zoom)


def _packed(canvas: Canvas) -> None:
    spacing = 0.086 * canvas.zoom
    spots = lattice(spacing, spacing, random_floats(canvas.rng, 0, 1, 2))
    spots += random_floats(canvas.rng, -0.006, 0.006, *spots.shape)
    lived_in = canvas.rng.random(len(spots)) < 0.86  # the other plots are gardens
    _houses(canvas, spots[lived_in], 0.064 * canvas.zoom)


def _halls(canvas: Canvas) -> None:
    rng = canvas.rng
    for spot in free_sites(canvas, 0.25 * canvas.zoom, 0.16 * canvas.zoom, int(rng.integers(4, 7))):
        length, width = rng.uniform(0.2, 0.25) * canvas.zoom, rng.uniform(0.13, 0.16) * canvas.zoom
        outline = boxes(spot[None], length, width)
        roof = _roof(canvas, canvas.pick(HALL_ROOFS))
        canvas.fill(outline, SHADOW, lift=0.05)
        canvas.fill(outline, roof)
        far = boxes(spot[None] + np.array([0, width / 4], np.float32), length, width / 2)
        canvas.fill(far, canvas.shade(roof, 0.84))
        steps = np.linspace(-0.36, 0.36, 4, dtype=np.float32) * np.float32(length)
        lights = spot + np.stack([steps, np.zeros_like(steps)], axis=1)
        canvas.fill(boxes(lights, length * 0.09, width * 0.5), canvas.shade(roof, 0.62))


def _arena(canvas: Canvas) -> None:
    rng = canvas.rng
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False, dtype=np.float32)
    middle = random_floats(rng, -0.08, 0.08, 2)
    oval: Floats = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    oval = oval * np.array([0.31, 0.24], np.float32) * np.float32(canvas.zoom)
    stand = _roof(canvas, canvas.pick(HALL_ROOFS))
    canvas.fill((middle + oval)[None], SHADOW, lift=0.06)
    rings = ((1.0, 1.0), (0.9, 0.72), (0.78, 0.95), (0.66, 0.66))
    for times, light in rings:
        ring = middle + oval * np.float32(times)
        canvas.fill(ring[None], canvas.shade(stand, light), use=TAKEN)
    pitch = 0.3 * canvas.zoom
    canvas.fill(boxes(middle[None], pitch, pitch * 0.62), (86, 142, 66))
    canvas.fill(boxes(middle[None], 0.014, pitch * 0.62), (226, 232, 220))


PAINTERS: dict[str, Callable[[Canvas], None] | None] = {
    "none": None,
    "few houses": _few,
    "packed houses": _packed,
    "halls": _halls,
    "arena": _arena,
}
"""Every value of the trait `buildings`, and what paints it."""
