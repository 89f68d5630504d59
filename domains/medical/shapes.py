"""Outlines of cells and of their nuclei, in units of the cell's radius around its middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Points of a line or a closed outline, shape (n, 2), or one point, shape (2,)."""

TURN = np.linspace(0, 2 * np.pi, 72, endpoint=False)


def outline(kind: str, rng: np.random.Generator) -> Points:
    """Return the closed outline of a cell of about radius 1."""
    if kind == "crescent-shaped":
        along = np.linspace(-1, 1, 30)
        turn, width = along * rng.uniform(1.15, 1.4), 0.42 * (1 - along**2) ** 0.7
        outer, inner = ((1.05 + s * width)[:, None] * on_circle(turn) for s in (1, -1))
        return np.concatenate([outer, inner[::-1]]) - (0.75, 0.0)
    if kind == "drop-shaped":
        tail = np.sin(TURN / 2) ** rng.uniform(2.0, 2.6)
        return np.stack([1.55 * np.cos(TURN) + 0.25, 1.25 * np.sin(TURN) * tail], axis=1)
    if kind == "spiky":
        spikes = (0.5 + 0.5 * np.cos(rng.integers(9, 12) * TURN)) ** 1.3
        return blob(0.85 + (0.33 + 0.06 * wave(rng, (2, 3))) * spikes)
    if kind == "irregular":
        return blob(1 + 0.17 * wave(rng, (2, 3, 4, 5)))
    points = blob(1 + 0.025 * wave(rng, (2, 3, 4)))
    return points * (1.22, 0.76) if kind == "oval" else points


def nucleus(
    kind: str, extent: float, rng: np.random.Generator
) -> tuple[Points, list[float], float]:
    """Return a nucleus as a bent line with discs on it.

    Args:
        kind: The shape, as the trait sheet says it.
        extent: Radius of a round nucleus; the others are scaled with it.
        rng: Varies bend and lobes.

    Returns:
        Knots of the line, radii of the discs on the first knots, and the width of the line.
    """
    if kind == "round":
        return np.zeros((1, 2)), [extent], 0.0
    scale = extent / 0.57
    if kind in ("kidney-shaped", "horseshoe-shaped"):
        bend, span, width = (0.36, 1.35, 0.62) if kind == "kidney-shaped" else (0.46, 2.15, 0.3)
        along = np.linspace(-span, span, 24) * rng.uniform(0.94, 1.06)
        return bend * scale * on_circle(along), [], width * scale
    if kind == "two-lobed":
        knots = np.array([[-0.36, 0.0], [0.36, rng.uniform(-0.08, 0.08)]])
        return scale * knots, [0.3 * scale] * 2, 0.14 * scale
    count = int(rng.integers(3, 6))  # many-lobed
    along = np.arange(count) * 4.4 / count + rng.uniform(-0.12, 0.12, count)
    lobe = 0.27 if count < 5 else 0.21
    return 0.46 * scale * on_circle(along), [lobe * scale] * count, 0.1 * scale


def wave(rng: np.random.Generator, orders: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a smooth closed wave of the given orders over `TURN`, about -1 to 1."""
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    sizes = rng.uniform(0.5, 1.0, len(orders))
    waves = [s * np.cos(k * TURN + p) for k, s, p in zip(orders, sizes, phases, strict=True)]
    return np.asarray(np.sum(waves, axis=0) / sizes.sum() * 1.6)


def blob(radii: NDArray[np.float64]) -> Points:
    """Return the outline that has these radii over `TURN`."""
    return radii[:, None] * on_circle(TURN)


def on_circle(angles: NDArray[np.float64]) -> Points:
    """Return points of the unit circle, shape (n, 2)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def rotated(points: Points, turn: float) -> Points:
    """Turn points around the origin by an angle in radians."""
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))
