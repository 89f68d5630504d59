"""Roads and paved strips, from the track to the carriageway."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import GRID, REACH, TAKEN, WATER, Canvas, Colour, Floats, boxes

ASPHALT: tuple[Colour, ...] = ((92, 92, 96), (108, 106, 104), (84, 82, 84))
GRAVEL: tuple[Colour, ...] = ((206, 196, 172), (194, 188, 176))
KERB: Colour = (198, 196, 188)
WHITE: Colour = (236, 236, 232)


def _through(v: float) -> Floats:
    return np.array([[-REACH, v], [REACH, v]], np.float32)


def _dry_side(canvas: Canvas) -> float:
    """Return how far beside the tile's middle a road meets the least water."""
    if not (canvas.use == WATER).any():
        return float(canvas.rng.uniform(-0.15, 0.15))
    sides = np.array([0, 0.1, -0.1, 0.2, -0.2, 0.3, -0.3, 0.38, -0.38], np.float32)
    along, around = np.linspace(-0.5, 0.5, 21), np.linspace(-0.09, 0.09, 5)
    u, v = np.broadcast_arrays(along[None, :, None], sides[:, None, None] + around)
    wet = canvas.used(np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)) == WATER
    return float(sides[wet.reshape(len(sides), -1).sum(axis=1).argmin()])


def _straight(canvas: Canvas) -> None:
    line = _through(_dry_side(canvas))
    canvas.line(line, 0.076, KERB, use=TAKEN)
    canvas.line(line, 0.05, canvas.pick(ASPHALT, 5))


def _grid(canvas: Canvas) -> None:
    block = GRID * canvas.zoom
    lines = []
    for flip, start in ((True, canvas.corner[0]), (False, canvas.corner[1])):
        for k in range(-3, 3):
            line = _through(block * (k + start))
            lines.append(line[:, ::-1].copy() if flip else line)
    colour = canvas.pick(ASPHALT, 5)
    for line in lines:
        canvas.line(line, 0.068, KERB, use=TAKEN)
    for line in lines:
        canvas.line(line, 0.045, colour)


def _winding(canvas: Canvas) -> None:
    rng = canvas.rng
    u = np.linspace(-REACH, REACH, 48, dtype=np.float32)
    side = _dry_side(canvas)
    bend = rng.uniform(0.05, 0.08) if (canvas.use == WATER).any() else rng.uniform(0.09, 0.15)
    v = bend * np.sin(u * rng.uniform(7, 9) + rng.uniform(0, 6.28)) + side
    colour = canvas.pick(GRAVEL, 6)
    path = np.stack([u, v.astype(np.float32)], axis=1)
    canvas.line(path, 0.06, canvas.shade(colour, 0.62), use=TAKEN)
    canvas.line(path, 0.042, colour)


def _double(canvas: Canvas) -> None:
    rng, colour = canvas.rng, canvas.pick(ASPHALT, 5)
    middle = rng.uniform(-0.12, 0.12)
    canvas.line(_through(middle), 0.27, KERB, use=TAKEN)
    for side in (-0.065, 0.065):
        canvas.line(_through(middle + side), 0.105, colour)
        lane = np.arange(-REACH, REACH, 0.085, dtype=np.float32) + np.float32(rng.uniform(0, 0.08))
        dashes = np.stack([lane, np.full_like(lane, middle + side)], axis=1)
        canvas.fill(boxes(dashes, 0.04, 0.014), WHITE)
    canvas.line(_through(middle), 0.024, (96, 122, 72))


def _strip(canvas: Canvas) -> None:
    rng = canvas.rng
    middle = rng.uniform(-0.2, -0.08)
    colour = canvas.pick(ASPHALT, 4)
    canvas.line(_through(middle), 0.2, KERB, use=TAKEN)
    canvas.line(_through(middle), 0.17, canvas.shade(colour, 0.8))
    lane = np.arange(-REACH, REACH, 0.15, dtype=np.float32) + np.float32(rng.uniform(0, 0.15))
    dashes = np.stack([lane, np.full_like(lane, middle)], axis=1)
    canvas.fill(boxes(dashes, 0.085, 0.026), WHITE)
    # the threshold: a block of bars across the strip, at one end
    bars = middle + np.array([-0.06, -0.036, 0.036, 0.06], np.float32)
    end = np.full_like(bars, rng.choice([-0.36, 0.36]))
    canvas.fill(boxes(np.stack([end, bars], axis=1), 0.11, 0.016), WHITE)


PAINTERS: dict[str, Callable[[Canvas], None] | None] = {
    "none": None,
    "straight": _straight,
    "grid": _grid,
    "winding": _winding,
    "double": _double,
    "strip": _strip,
}
"""Every value of the trait `roads`, and what paints it."""
