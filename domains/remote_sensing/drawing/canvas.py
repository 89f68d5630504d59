"""The surface that a tile is painted on: colours, placing, and which ground is taken already.

Shapes are given in the tile's own frame: origin in the middle, one unit a tile's side, the first
axis along the tile's main direction. The canvas turns them and paints them with sub-pixel corners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]

FREE, TAKEN, WATER = 0, 1, 2
"""What a place of the tile is used for already."""

GRID = 0.4
"""Side of one block: roads in a grid run along the blocks' rims, round fields lie inside them."""

REACH = 0.72
"""Half a tile's diagonal: structures that run through reach this far, whatever the turn."""

_FRACTION_BITS = 4  # cv2 reads corners as integers of a sixteenth of a pixel


@dataclass
class Canvas:
    """One tile while it is painted, at twice the size it is asked for.

    Attributes:
        pixels: RGB of shape (side, side, 3).
        use: FREE, TAKEN or WATER, of shape (side, side).
        angle: Direction of the first axis, in radians.
        zoom: Scale of what stands on the ground.
        corner: Where the corner of a block lies, as shares of a block.
        shadow: Where shadows fall, as (x, y) per unit of height.
        season: "green", "dry" or "snow".
    """

    pixels: Pixels
    use: Pixels
    angle: float
    zoom: float
    corner: tuple[float, float]
    shadow: tuple[float, float]
    season: str
    rng: np.random.Generator

    @property
    def side(self) -> int:
        """Return the canvas side in pixels."""
        return int(self.pixels.shape[0])

    def to_pixels(self, points: Floats) -> Floats:
        """Turn points of shape (..., 2) from the tile's frame into canvas pixels."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos, sin], [-sin, cos]], np.float32)
        turned: Floats = (points @ turn + 0.5) * np.float32(self.side)
        return turned

    def fill(self, shapes: Floats, colour: Colour, *, use: int = -1, lift: float = 0.0) -> None:
        """Fill polygons of shape (n, corners, 2) with one colour.

        Args:
            shapes: Corners in the tile's frame.
            colour: RGB in 0..255.
            use: Also marks the ground as TAKEN or WATER where it is not negative.
            lift: Height whose shadow is painted instead of the shapes themselves.
        """
        if not len(shapes):
            return
        corners = self.to_pixels(shapes)
        if lift:
            corners = corners + np.float32(lift * self.side) * np.array(self.shadow, np.float32)
        fixed = np.round(corners * (1 << _FRACTION_BITS)).astype(np.int32)
        for shape in fixed:
            cv2.fillPoly(self.pixels, [shape], colour, shift=_FRACTION_BITS)
            if use >= 0:
                cv2.fillPoly(self.use, [shape], (use,), shift=_FRACTION_BITS)

    def mark(self, shapes: Floats, use: int) -> None:
        """Take polygons of ground without painting them."""
        for shape in np.round(self.to_pixels(shapes)).astype(np.int32):
            cv2.fillPoly(self.use, [shape], (use,))

    def line(self, points: Floats, width: float, colour: Colour, *, use: int = -1) -> None:
        """Draw one open line of shape (n, 2), `width` in units of a tile's side."""
        fixed = np.round(self.to_pixels(points) * (1 << _FRACTION_BITS)).astype(np.int32)
        thick = max(1, round(width * self.side))
        cv2.polylines(self.pixels, [fixed], False, colour, thick, cv2.LINE_8, _FRACTION_BITS)
        if use >= 0:
            cv2.polylines(self.use, [fixed], False, (use,), thick, cv2.LINE_8, _FRACTION_BITS)

    def disc(self, centres: Floats, radii: Floats, colour: Colour, lift: float = 0.0) -> None:
        """Fill circles with centres of shape (n, 2); `lift` in radii paints their shadows."""
        places = self.to_pixels(centres)
        if lift:
            fall = np.array(self.shadow, np.float32) * np.float32(lift * self.side)
            places = places + radii[:, None] * fall
        fixed = np.round(places * (1 << _FRACTION_BITS)).astype(int).tolist()
        sizes = np.round(radii * (self.side << _FRACTION_BITS)).astype(int).tolist()
        for place, size in zip(fixed, sizes, strict=True):
            cv2.circle(self.pixels, place, size, colour, -1, cv2.LINE_8, _FRACTION_BITS)

    def used(self, points: Floats) -> NDArray[np.uint8]:
        """Return what the ground is used for at points of shape (n, 2); TAKEN outside the tile."""
        at = self.to_pixels(points).astype(int)
        inside = ((at >= 0) & (at < self.side)).all(axis=1)
        at = at.clip(0, self.side - 1)
        use: NDArray[np.uint8] = np.where(inside, self.use[at[:, 1], at[:, 0]], TAKEN)
        return use

    def clear(self, boxes: Floats, wanted: int = FREE) -> NDArray[np.bool_]:
        """Return which polygons (n, corners, 2) have middle, rim and corners on `wanted` ground.

        Ground beyond the tile's rim counts as wanted, so that structures may run over it.
        """
        edges = (boxes + np.roll(boxes, 1, axis=1)) / 2
        probes = np.concatenate([boxes, edges, boxes.mean(axis=1, keepdims=True)], axis=1)
        at = self.to_pixels(probes).astype(int)
        inside: NDArray[np.bool_] = np.all((at >= 0) & (at < self.side), axis=2)
        at = at.clip(0, self.side - 1)
        fits = (self.use[at[..., 1], at[..., 0]] == wanted) | ~inside
        good: NDArray[np.bool_] = fits.all(axis=1) & inside.any(axis=1)
        return good

    def pick(self, colours: tuple[Colour, ...], spread: float = 10.0) -> Colour:
        """Return one of the colours, a little off."""
        return self.shade(colours[int(self.rng.integers(len(colours)))], spread=spread)

    def shade(self, colour: Colour, times: float = 1.0, spread: float = 0.0) -> Colour:
        """Return a colour made lighter or darker, and a little off."""
        off = self.rng.normal(0, spread, 3) if spread else (0.0, 0.0, 0.0)
        r, g, b = (
            min(255.0, max(0.0, c * times + float(o))) for c, o in zip(colour, off, strict=True)
        )
        return r, g, b


def boxes(centres: Floats, lengths: Floats | float, widths: Floats | float) -> Floats:
    """Return rectangles of shape (n, 4, 2), `lengths` along the main direction."""
    half = np.empty((len(centres), 1, 2), np.float32)
    half[:, 0, 0], half[:, 0, 1] = np.divide(lengths, 2), np.divide(widths, 2)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    corners: Floats = centres[:, None, :] + signs * half
    return corners


def lattice(along: float, across: float, offset: Floats) -> Floats:
    """Return the points (n, 2) of a regular lattice that covers the tile at any turn."""
    u = np.arange(-REACH, REACH + along, along, dtype=np.float32)
    v = np.arange(-REACH, REACH + across, across, dtype=np.float32)
    grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    points: Floats = grid + offset * np.array([along, across], np.float32)
    return points


def free_sites(canvas: Canvas, length: float, width: float, wanted: int) -> list[Floats]:
    """Take up to `wanted` free rectangles around the tile's middle and return their centres."""
    spots = lattice(0.045, 0.045, random_floats(canvas.rng, 0, 1, 2))
    spots = spots[np.abs(canvas.to_pixels(spots) / canvas.side - 0.5).max(axis=1) < 0.42]
    canvas.rng.shuffle(spots)
    plots = boxes(spots, length * 1.04, width * 1.12)
    sites: list[Floats] = []
    while len(sites) < wanted:
        free = canvas.clear(plots)
        if not free.any():
            break
        at = int(free.argmax())
        sites.append(spots[at])
        canvas.mark(plots[at : at + 1], TAKEN)
        spots, plots = spots[at + 1 :], plots[at + 1 :]
    return sites


def random_floats(rng: np.random.Generator, low: float, high: float, *shape: int) -> Floats:
    """Return uniform float32 numbers."""
    return rng.uniform(low, high, shape).astype(np.float32)


def noise(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Return smooth noise of shape (size, size), about `cells` bumps across, of unit variance."""
    knots = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    step = size / cells
    shift = rng.uniform(0.5, 1.5, 2) * step
    big = cv2.resize(knots, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    x, y = int(shift[0]), int(shift[1])
    return np.ascontiguousarray(big[y : y + size, x : x + size])


@lru_cache(maxsize=8)
def coordinates(size: int) -> tuple[Floats, Floats]:
    """Return x and y of every pixel in units of a tile's side, the origin in the middle."""
    steps = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(size) - np.float32(0.5)
    x, y = np.meshgrid(steps, steps)
    return x, y


def seasonal(colours: Mapping[str, Colour], season: str) -> Colour:
    """Return the colour of a season, that of the green season where none is given."""
    return colours.get(season, colours["green"])
