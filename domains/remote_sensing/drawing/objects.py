"""Things that people have put on the ground or on the water: cars, boats, panels, tracks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import REACH, TAKEN, WATER, Canvas, Colour, boxes, free_sites, lattice, random_floats

PAINTS: tuple[Colour, ...] = (
    (232, 232, 230),
    (196, 60, 52),
    (60, 88, 160),
    (40, 42, 46),
    (210, 190, 90),
)


def _cars(canvas: Canvas) -> None:
    """Paint two parking lots: dark ground with rows of cars in many colours."""
    rng = canvas.rng
    length, width = 0.29 * canvas.zoom, 0.185 * canvas.zoom
    for spot in free_sites(canvas, length, width, 2):
        canvas.fill(boxes(spot[None], length, width), (70, 70, 74))
        along = np.linspace(-0.42, 0.42, 8, dtype=np.float32) * np.float32(length)
        across = np.array([-0.31, 0.0, 0.31], np.float32) * np.float32(width)
        cars = np.stack(np.meshgrid(along, across), axis=-1).reshape(-1, 2) + spot
        paints = rng.integers(len(PAINTS) + 1, size=len(cars))  # one more: an empty place
        for k, paint in enumerate(PAINTS):
            canvas.fill(boxes(cars[paints == k], 0.023, 0.042), paint)


def _boats(canvas: Canvas) -> None:
    rng = canvas.rng
    spots = lattice(0.1, 0.075, random_floats(rng, 0, 1, 2))
    rng.shuffle(spots)
    length, width = 0.085 * canvas.zoom, 0.028 * canvas.zoom
    hull = np.array([[-0.5, -0.5], [0.2, -0.5], [0.55, 0], [0.2, 0.5], [-0.5, 0.5]], np.float32)
    hulls = spots[:, None, :] + hull * np.array([length, width], np.float32)
    around = boxes(spots, length * 1.3, width * 2)
    hulls = hulls[canvas.clear(around, WATER)][: int(rng.integers(5, 9))]
    canvas.fill(hulls, (242, 242, 240))
    canvas.fill(boxes(hulls.mean(axis=1), length * 0.3, width * 0.45), (176, 120, 84))


def _panels(canvas: Canvas) -> None:
    rng = canvas.rng
    spacing = 0.074 * canvas.zoom
    run = rng.uniform(0.24, 0.3)
    spots = lattice(run + 0.035, spacing, random_floats(rng, 0, 1, 2))
    rows = boxes(spots, run, spacing * 0.6)
    rows = rows[canvas.clear(rows)]
    blue = canvas.pick(((40, 52, 92), (34, 42, 70)), 6)
    canvas.fill(rows, canvas.shade(blue, 0.5), lift=0.012)
    canvas.fill(rows, blue, use=TAKEN)
    glint = boxes(rows.mean(axis=1), run, spacing * 0.16)
    canvas.fill(glint, canvas.shade(blue, 1.8))


def _tracks(canvas: Canvas) -> None:
    """Paint a bed of parallel tracks with rows of wagons on some of them."""
    rng = canvas.rng
    spacing = 0.066 * canvas.zoom
    n = int(rng.integers(5, 7))
    middle = rng.uniform(-0.12, 0.12)
    bed = boxes(np.array([[0, middle]], np.float32), 2 * REACH, n * spacing)
    canvas.fill(bed, canvas.pick(((96, 86, 78), (84, 78, 76)), 5), use=TAKEN)
    for k in range(n):
        v = middle + (k - (n - 1) / 2) * spacing
        line = np.array([[-REACH, v], [REACH, v]], np.float32)
        canvas.line(line, 0.03, (58, 52, 48))
        canvas.line(line, 0.012, (204, 204, 206))
        if rng.random() < 0.4:
            start, count = rng.uniform(-0.5, 0.1), int(rng.integers(3, 6))
            u = np.float32(start) + np.arange(count, dtype=np.float32) * np.float32(0.115)
            wagons = np.stack([u, np.full_like(u, v)], axis=1)
            canvas.fill(boxes(wagons, 0.1, 0.04), canvas.pick(PAINTS))


PAINTERS: dict[str, Callable[[Canvas], None] | None] = {
    "none": None,
    "cars": _cars,
    "boats": _boats,
    "panels": _panels,
    "tracks": _tracks,
}
"""Every value of the trait `objects`, and what paints it."""
