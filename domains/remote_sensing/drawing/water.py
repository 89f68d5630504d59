"""Water: where it lies, and the ground it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import REACH, WATER, Canvas, Colour, Floats, random_floats

WATERS: tuple[Colour, ...] = ((46, 82, 112), (44, 92, 100), (58, 98, 120), (60, 88, 82))


def _wave(rng: np.random.Generator, height: float, waves: float, n: int = 40) -> Floats:
    """Return a winding line (n, 2) along the main direction."""
    u = np.linspace(-REACH, REACH, n, dtype=np.float32)
    phase = rng.uniform(0, 2 * np.pi, 2)
    v = np.sin(u * waves * 2 * np.pi + phase[0]) + 0.35 * np.sin(u * waves * 9 + phase[1])
    return np.stack([u, np.float32(height) * v.astype(np.float32)], axis=1)


def _channel(canvas: Canvas) -> None:
    rng = canvas.rng
    path = _wave(rng, rng.uniform(0.07, 0.13), rng.uniform(0.8, 1.2))
    path[:, 1] += np.float32(rng.uniform(-0.12, 0.12))
    width, water = rng.uniform(0.11, 0.15), canvas.pick(WATERS)
    canvas.line(path, width + 0.03, canvas.shade(water, 1.7, 8), use=WATER)
    canvas.line(path, width, water)


def _round(canvas: Canvas) -> None:
    rng = canvas.rng
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False, dtype=np.float32)
    bumps = sum(rng.uniform(0, 0.09) * np.cos(k * turn + rng.uniform(0, 6.28)) for k in (2, 3, 4))
    shore = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (1 + np.asarray(bumps)[:, None])
    middle, radius = random_floats(rng, -0.13, 0.13, 2), rng.uniform(0.2, 0.25)
    water = canvas.pick(WATERS)
    for times, colour in ((1.1, canvas.shade(water, 1.7, 8)), (1.0, water)):
        outline = (middle + shore * radius * times).astype(np.float32)
        canvas.fill(outline[None], colour, use=WATER)


def _edge(canvas: Canvas) -> None:
    rng = canvas.rng
    shore = _wave(rng, rng.uniform(0.008, 0.03), rng.uniform(0.5, 1.1))
    shore[:, 1] += np.float32(rng.uniform(0.08, 0.18))
    water = canvas.pick(WATERS)
    foam = (226, 226, 214)
    for inland, colour in ((0.035, foam), (0.0, canvas.shade(water, 1.3)), (-0.06, water)):
        near = shore - np.array([0, inland], np.float32)
        far = np.array([[REACH, 2], [-REACH, 2]], np.float32)
        canvas.fill(np.concatenate([near, far])[None], colour, use=WATER)


PAINTERS: dict[str, Callable[[Canvas], None] | None] = {
    "none": None,
    "channel": _channel,
    "round": _round,
    "edge": _edge,
}
"""Every value of the trait `water`, and what paints it."""
