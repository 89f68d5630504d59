"""Paints the wings of one side from a trait sheet: ground, marks, tips, veins, eyespots, tails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Traits

from .shapes import BASE, Points, Wing, read_shapes

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "white": (242, 240, 232),
    "yellow": (246, 214, 48),
    "orange": (236, 122, 22),
    "red": (214, 34, 32),
    "brown": (104, 60, 34),
    "black": (30, 26, 30),
    "blue": (62, 124, 222),
}
DARK: Colour = (26, 22, 24)
CREAM: Colour = (250, 238, 190)
SPOTS: dict[str, Colour] = {
    "white-spotted": (250, 248, 242),
    "blue-spotted": (96, 170, 255),
    "orange-spotted": (255, 146, 24),
}
LEFT, TOP, WIDTH, HEIGHT = 0.06, 1.02, 1.26, 2.36
"""The painted area in units: from x = -LEFT and y = -TOP."""
SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws at."""
SPILL = 0.7
"""Pixels that OpenCV's smooth shapes reach past their outline."""


def thickness(width: float) -> int:
    """Return the thickness to ask OpenCV for, so that a smooth line comes out `width` pixels wide.

    It draws even thicknesses, and the odd ones above them, 2 * SPILL wider.
    """
    return max(1, 2 * round((width - 2 * SPILL) / 2))


class Canvas:
    """A wing being painted; coordinates in units, `unit` pixels long."""

    def __init__(self, unit: float, ground: Colour) -> None:
        self.unit = unit
        height, width = round(HEIGHT * unit), round(WIDTH * unit)
        self.pixels = np.empty((height, width, 3), np.uint8)
        cv2.rectangle(self.pixels, (0, 0), (width, height), ground, -1)
        self.mask = np.zeros((height, width), np.uint8)

    def place(self, points: Points | Sequence[Points]) -> NDArray[np.int32]:
        """Return fixed-point pixel coordinates of points in units."""
        corner = np.asarray([LEFT, TOP], np.float32)
        scaled = (np.asarray(points, np.float32) + corner) * self.unit - 0.5
        placed: NDArray[np.int32] = np.rint(scaled * (1 << SHIFT)).astype(np.int32)
        return placed

    def line(self, points: Points | Sequence[Points], colour: Colour, width: float) -> None:
        """Draw a line through points, `width` units wide."""
        thick = thickness(width * self.unit)
        cv2.polylines(self.pixels, [self.place(points)], False, colour, thick, cv2.LINE_AA, SHIFT)

    def fill(self, points: Points | Sequence[Points], colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.pixels, [self.place(points)], colour, cv2.LINE_AA, SHIFT)

    def disc(self, centre: Points, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        x, y = (int(v) for v in self.place(centre))
        reach = round(max(radius * self.unit - SPILL, 0.3) * (1 << SHIFT))
        cv2.circle(self.pixels, (x, y), reach, colour, -1, cv2.LINE_AA, SHIFT)

    def cover(self, points: Points | Sequence[Points], value: int = 255) -> None:
        """Add a polygon to the mask, or cut it out with `value` 0."""
        cv2.fillPoly(self.mask, [self.place(points)], value, cv2.LINE_AA, SHIFT)


def paint_wings(traits: Traits, rng: np.random.Generator, unit: float) -> Pixels:
    """Return the wings of one side as RGBA pixels.

    Args:
        traits: All traits of the picture.
        rng: Jitters the marks and places the nicks of a worn wing.
        unit: Pixels per unit of length.

    Returns:
        Pixels of shape (height, width, 4); the area is given by `LEFT`, `TOP`, `WIDTH`, `HEIGHT`.
    """
    fore_wing, hind_wing = read_shapes()[traits["wing shape"]]
    ground = COLOURS[traits["ground colour"]]
    hind, fore = Canvas(unit, ground), Canvas(unit, ground)
    for canvas, wing, front in ((hind, hind_wing, False), (fore, fore_wing, True)):
        canvas.cover(wing.edge)
        _paint_marks(canvas, wing, traits, rng, front)
        rim: Colour = (84, 80, 86) if ground == COLOURS["black"] else _mix(ground, DARK, 0.6)
        canvas.line(np.concatenate([wing.edge, wing.edge[:1]]), rim, 0.045)
        if front:
            _paint_tips(canvas, wing, traits["wing tips"])
        _paint_margin(canvas, wing, traits["margin"])
        if traits["veins"] == "dark":
            for along in (0.04, 0.35, 0.66, 0.97):
                canvas.line([BASE, wing.at(along, 1.05)], DARK, 0.056)
        _paint_eyespots(canvas, wing, traits["eyespots"], rng, front)
        if traits["wear"] == "worn":
            _nick(canvas, wing, rng)
    _paint_tails(hind, hind_wing, traits["tails"])
    cv2.copyTo(fore.pixels, fore.mask, hind.pixels)
    return np.dstack([hind.pixels, cv2.max(hind.mask, fore.mask)])


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    r, g, b = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return r, g, b


def _paint_marks(
    canvas: Canvas, wing: Wing, traits: Traits, rng: np.random.Generator, front: bool
) -> None:
    pattern = traits["pattern"]
    if traits["marking colour"] == "none":
        return
    colour = COLOURS[traits["marking colour"]]
    size, shift = rng.uniform(0.9, 1.1), rng.uniform(-0.02, 0.02)
    at = wing.at
    if pattern == "banded":
        middle = (0.58 if front else 0.52) + shift
        rim = [at(a, middle) for a in (-0.12, 0.15, 0.4, 0.65, 0.9, 1.15)]
        canvas.line(rim, colour, 0.18 * size)
    elif pattern == "striped":
        width = 0.08 * size - 2 * SPILL / canvas.unit
        for x in (0.2, 0.42, 0.64, 0.86):
            top, foot = x + shift, 0.86 * x + shift
            ends = [[top, -1], [top + width, -1], [foot + width, 0.9], [foot, 0.9]]
            canvas.fill(np.asarray(ends, np.float32), colour)
    elif pattern == "spotted":
        for along, out in SPOT_PLACES[front]:
            canvas.disc(at(along, out + shift), 0.09 * size, colour)
    elif pattern == "checkered":
        for i, inner in enumerate((0.28, 0.52, 0.76)):
            for j, a in enumerate((-0.08, 0.16, 0.40, 0.64, 0.88)):
                if (i + j) % 2 == 0:
                    b, outer = a + 0.22 * size, inner + 0.2 * size
                    canvas.fill([at(a, inner), at(b, inner), at(b, outer), at(a, outer)], colour)
    elif pattern == "patched":
        canvas.disc(at(0.5, 0.6 + shift), (0.25 if front else 0.2) * size, colour)


SPOT_PLACES = {
    True: ((0.2, 0.5), (0.75, 0.42), (0.02, 0.74), (0.36, 0.76), (0.7, 0.76), (1.0, 0.7)),
    False: ((0.5, 0.42), (0.15, 0.7), (0.5, 0.74), (0.85, 0.7)),
}
"""Spots of a forewing (True) and a hindwing: share along the margin, share from the base."""


def _paint_tips(canvas: Canvas, wing: Wing, tips: str) -> None:
    if tips == "plain":
        return
    apex = wing.margin[0] - BASE
    length = float(np.hypot(*apex))
    ahead = apex / np.float32(length)
    side = np.asarray([-ahead[1], ahead[0]], np.float32)
    start = BASE + ahead * np.float32(0.62 * length)
    corners = [start + side * 1.5 + ahead * 0.1, start - side * 1.5 - ahead * 0.1]
    canvas.fill([*corners, corners[1] + ahead * 2, corners[0] + ahead * 2], TIPS[tips])
    if tips == "white-spotted":
        for along, out in ((0.0, 0.74), (0.16, 0.9), (0.36, 0.8)):
            canvas.disc(wing.at(along, out), 0.072, SPOTS[tips])


TIPS = {"black": COLOURS["black"], "white-spotted": COLOURS["black"], "orange": (248, 118, 12)}


def _paint_margin(canvas: Canvas, wing: Wing, margin: str) -> None:
    if margin == "plain":
        return
    if margin == "orange-spotted":
        canvas.line(wing.margin, DARK, 0.1)
    else:
        canvas.line(wing.margin, DARK, 0.22 if margin == "black" else 0.32)
    if margin in SPOTS:
        large = margin == "orange-spotted"
        for along in (0.1, 0.3, 0.5, 0.7, 0.9):
            centre = wing.at(along, 0.87 if large else 0.92)
            canvas.disc(centre, 0.082 if large else 0.068, SPOTS[margin])


def _paint_eyespots(
    canvas: Canvas, wing: Wing, eyespots: str, rng: np.random.Generator, front: bool
) -> None:
    size = rng.uniform(0.93, 1.07)
    at, ring = wing.at, partial(_ring, canvas)
    if eyespots == "forewing" and front:
        ring(at(0.5, 0.6), 0.165 * size, (CREAM, DARK, CREAM), (1.0, 0.8, 0.3))
    elif eyespots == "large":
        centre = at(0.42, 0.62) if front else at(0.5, 0.6)
        ring(centre, 0.2 * size, (CREAM, DARK, (120, 190, 255)), (1.0, 0.78, 0.4))
    elif eyespots == "hindwing row" and not front:
        for along in (0.08, 0.36, 0.64, 0.92):
            ring(at(along, 0.74), 0.115 * size, (CREAM, DARK, CREAM), (1.0, 0.72, 0.25))
    elif eyespots == "red" and not front:
        ring(at(0.82, 0.7), 0.16 * size, (DARK, (236, 24, 36)), (1.0, 0.78))


def _ring(
    canvas: Canvas, centre: Points, radius: float, colours: Sequence[Colour], parts: Sequence[float]
) -> None:
    for colour, part in zip(colours, parts, strict=True):
        canvas.disc(centre, radius * part, colour)


def _paint_tails(canvas: Canvas, wing: Wing, tails: str) -> None:
    """Add tails to a hindwing; they are dark and lie outside the wing's outline."""
    for along, length, width in TAILS[tails]:
        root = wing.at(along, 0.94)
        ahead = np.asarray([0.22, 1.0], np.float32) / np.float32(1.024)
        side = np.asarray([ahead[1], -ahead[0]], np.float32) * np.float32(width / 2)
        end = wing.at(along, 1.0) + ahead * np.float32(length)
        outline = [root + side * 1.3, root - side * 1.3, end - side * 0.7, end + side * 0.7]
        canvas.cover(outline)
        canvas.fill(outline, DARK)
        if width > 0.07:  # a swallow's tail ends in a drop
            angles = np.linspace(0, 2 * np.pi, 12, dtype=np.float32)
            drop = end + np.stack([np.cos(angles), np.sin(angles)], 1) * np.float32(width * 0.75)
            canvas.cover(drop)
            canvas.fill(drop, DARK)


TAILS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "none": (),
    "short": ((0.72, 0.22, 0.12),),
    "long": ((0.8, 0.56, 0.11),),
    "thread": ((0.62, 0.26, 0.055), (0.86, 0.26, 0.055)),
}
"""Per tail: share along the hindwing's margin, length, width."""


def _nick(canvas: Canvas, wing: Wing, rng: np.random.Generator) -> None:
    for along in rng.uniform(0.05, 0.95, 2):
        width, depth = rng.uniform(0.06, 0.11), rng.uniform(0.7, 0.84)
        notch = [wing.at(along - width, 1.3), wing.at(along, depth), wing.at(along + width, 1.3)]
        canvas.cover(notch, 0)
