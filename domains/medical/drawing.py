"""Draws one schematic blood-smear cell among plain red cells, from its traits.

Lengths are in units of the cell's radius until they reach the canvas, which is two or three times
the wanted side and is reduced at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Traits

from .shapes import Points, blob, nucleus, on_circle, outline, rotated, wave

Canvas = NDArray[np.uint8]

RADIUS = {"small": 0.185, "medium-sized": 0.26, "large": 0.345}
"""Radius of a cell as a share of the picture's side; plain red cells have 0.2."""
CYTOPLASM = {
    "pale pink": (244, 214, 218),
    "pale blue": (178, 212, 245),
    "deep blue": (88, 132, 222),
    "grey-blue": (152, 164, 188),
    "salmon red": (226, 132, 112),
}
GRANULES = {
    "fine pink": (228, 140, 172),
    "fine purple": (112, 48, 140),
    "coarse orange": (240, 92, 28),
    "coarse purple": (62, 12, 84),
}
STAIN = {"pale": (0.65, 0.65, 0.65), "deep": (1.25, 1.25, 1.25), "bluish": (1.3, 1.0, 0.6)}
"""Strength of a stain in red, green and blue light."""
NUCLEUS_EXTENT = {"thin": 0.81, "moderate": 0.68, "wide": 0.55}
"""Radius of a nucleus that leaves so much cytoplasm."""
BACKGROUND, NUCLEUS, PALLOR = (240, 234, 226), (118, 58, 150), (248, 212, 198)
SALMON = CYTOPLASM["salmon red"]
SHIFT = 4
"""Fractional bits that cv2 is given, so that outlines do not snap to pixels."""


def draw(traits: Traits, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one picture of shape (size, size, 3) from the traits of a sheet and of an individual."""
    side = size * (3 if size < 100 else 2)
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = BACKGROUND
    radius = RADIUS[traits["size"]] * side * rng.uniform(0.95, 1.05)
    middle = side * rng.uniform(0.45, 0.55, 2)
    body = rotated(outline(traits["outline"], rng), rng.uniform(0, 2 * np.pi)) * radius + middle
    reach = float(np.hypot(*(body - middle).T).max())
    _draw_neighbours(canvas, middle, reach, traits["area"] == "crowded", rng)
    _draw_cell(canvas, body, middle, radius, traits, rng)
    if traits["overlap"] != "none":
        _draw_overlap(canvas, body, middle, rng)
    return _develop(canvas, traits, rng, size)


def _nucleus_mask(
    inside: Canvas,
    middle: Points,
    off: float,
    radius: float,
    traits: Traits,
    rng: np.random.Generator,
) -> Canvas:
    """Return where the nucleus is, 255 or 0; `off` is the direction that it may be shifted in."""
    mask = np.zeros_like(inside)
    kind, extent = traits["nucleus"], NUCLEUS_EXTENT[traits["cytoplasm amount"]]
    knots, lobes, width = nucleus(kind, extent, rng)
    shift = {"central": 0.04, "off-centre": 0.9 - 0.84 * extent}[traits["nucleus position"]]
    if kind != "round":
        shift = min(shift, 0.24)  # the others reach further out
    knots = rotated(knots, rng.uniform(0, 2 * np.pi)) + shift * on_circle(np.array(off))
    knots = knots * radius + middle
    if width:
        wide = max(1, round(width * radius))
        cv2.polylines(mask, [_fixed(knots)], False, 255, wide, cv2.LINE_8, SHIFT)
    for knot, lobe in zip(knots, lobes, strict=False):
        _disc(mask, knot, lobe * radius * rng.uniform(0.95, 1.05), 255)
    return np.asarray(mask & inside)


def _draw_cell(
    canvas: Canvas,
    body: Points,
    middle: Points,
    radius: float,
    traits: Traits,
    rng: np.random.Generator,
) -> None:
    low = np.maximum(np.floor(body.min(axis=0)).astype(int) - 2, 0)
    high = np.ceil(body.max(axis=0)).astype(int) + 2
    place = canvas[low[1] : high[1], low[0] : high[0]]
    body, middle = body - low, middle - low
    shape = (place.shape[0], place.shape[1])
    colour = CYTOPLASM[traits["cytoplasm"]]
    layer = np.empty_like(place)
    layer[:] = _shaded(colour, 0.9)
    for share, light in ((0.93, 1.0), (0.6, 1.03)):
        points = (body - middle) * share + middle
        cv2.fillPoly(layer, [_fixed(points)], _shaded(colour, light), cv2.LINE_8, SHIFT)
    _draw_pallor(layer, body, middle, traits.get("pallor", "none"), rng)
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [_fixed(body)], 255, cv2.LINE_8, SHIFT)
    free, granules = inside, traits["granules"]
    _draw_granules(layer, middle, radius, granules, 1.0, rng)
    if traits["nucleus"] != "none":
        furthest = (body - middle)[np.hypot(*(body - middle).T).argmax()]
        off = float(np.arctan2(furthest[1], furthest[0]))
        mask = _nucleus_mask(inside, middle, off, radius, traits, rng)
        cv2.copyTo(_chromatin(shape, middle, radius, rng), mask, layer)
        free = inside & ~mask
        if granules == "coarse purple":  # these also lie over the nucleus
            _draw_granules(layer, middle, radius, granules, 0.2, rng)
    _draw_vacuoles(layer, free, middle, radius, traits["vacuoles"], rng)
    cv2.copyTo(layer, inside, place)


def _draw_pallor(
    layer: Canvas, body: Points, middle: Points, kind: str, rng: np.random.Generator
) -> None:
    steps = {
        "small": ((0.5, 0.35), (0.42, 0.7), (0.34, 1.0)),
        "ringed": ((0.74, 0.5), (0.68, 1.0), (0.4, 0.5), (0.34, -0.12)),
    }.get(kind, ())
    shrink = rng.uniform(0.92, 1.08)
    for share, light in steps:
        colour = np.array(SALMON) + light * (np.array(PALLOR) - SALMON)
        points = (body - middle) * share * shrink + middle
        cv2.fillPoly(layer, [_fixed(points)], colour.tolist(), cv2.LINE_8, SHIFT)


def _draw_granules(
    layer: Canvas, middle: Points, radius: float, kind: str, share: float, rng: np.random.Generator
) -> None:
    if kind == "none":
        return
    count, width = (85, 0.095) if kind.startswith("coarse") else (110, 0.055)
    turn, far = rng.uniform(0, 2 * np.pi, count), 1.05 * np.sqrt(rng.random(count))
    places = middle + radius * far[:, None] * on_circle(turn)
    widths = radius * width * rng.uniform(0.75, 1.2, count)
    lights = rng.uniform(0.88, 1.1, count)
    for i in range(int(count * share)):
        _disc(layer, places[i], widths[i], _shaded(GRANULES[kind], lights[i]))


def _chromatin(
    shape: tuple[int, int], middle: Points, radius: float, rng: np.random.Generator
) -> Canvas:
    """Return a layer of the nucleus's colour with lighter and darker clumps."""
    layer = np.empty((*shape, 3), np.uint8)
    layer[:] = NUCLEUS
    places = middle + radius * rng.uniform(-0.8, 0.8, (16, 2))
    for i, width in enumerate(radius * rng.uniform(0.08, 0.18, 16)):
        _disc(layer, places[i], width, _shaded(NUCLEUS, 0.82 if i % 2 else 1.18))
    return layer


def _draw_vacuoles(
    layer: Canvas, free: Canvas, middle: Points, radius: float, kind: str, rng: np.random.Generator
) -> None:
    """Draw round holes where there is free cytoplasm, apart from one another."""
    wanted, width = {"none": 0, "two": 2, "several": 5}[kind], 0.125 * radius
    if not wanted:
        return
    near = np.ones((3, 3), np.uint8)
    roomy = cv2.erode(free, near, iterations=max(1, round(width * 0.9)))
    rows, columns = np.nonzero(roomy if roomy.any() else free)
    places: list[Points] = []
    for i in rng.integers(len(rows), size=80):
        place = np.array([columns[i], rows[i]], dtype=float)
        if all(np.hypot(*(place - other)) > 2.6 * width for other in places):
            places.append(place)
            _disc(layer, place, width * rng.uniform(0.9, 1.1), BACKGROUND)
            if len(places) == wanted:
                break


def _draw_neighbours(
    canvas: Canvas, middle: Points, reach: float, crowded: bool, rng: np.random.Generator
) -> None:
    """Draw plain red cells around the cell, at most their rims under it."""
    side = len(canvas)
    wanted = int(rng.integers(8, 13)) if crowded else int(rng.integers(2, 5))
    apart = side * (0.27 if crowded else 0.42)
    radii = side * rng.uniform(0.18, 0.215, 60)
    places: list[Points] = []
    for place, radius in zip(side * rng.uniform(-0.12, 1.12, (60, 2)), radii, strict=True):
        clear = np.hypot(*(place - middle)) > reach + 0.85 * radius
        if clear and all(np.hypot(*(place - other)) > apart for other in places):
            places.append(place)
            _draw_red_cell(canvas, place, radius, rng)
            if len(places) == wanted:
                break


def _draw_overlap(canvas: Canvas, body: Points, middle: Points, rng: np.random.Generator) -> None:
    """Lay a red cell over the cell's edge, half seen through."""
    far = np.argsort(np.hypot(*(body - middle).T))[len(body) // 2 :]
    edge = body[far[int(rng.integers(len(far)))]]
    radius = len(canvas) * 0.19
    outward = (edge - middle) / max(np.hypot(*(edge - middle)), 1.0)
    over = canvas.copy()
    _draw_red_cell(over, edge + 0.72 * radius * outward, radius, rng)
    cv2.addWeighted(over, 0.72, canvas, 0.28, 0, dst=canvas)


def _draw_red_cell(canvas: Canvas, middle: Points, radius: float, rng: np.random.Generator) -> None:
    body = blob(1 + 0.035 * wave(rng, (2, 3))) * radius
    pallor = rng.uniform(0.8, 1.15)
    for share, light, shade in (
        (1.0, 0.0, 0.9),
        (0.92, 0.0, 1.0),
        (0.52 * pallor, 0.3, 1.0),
        (0.42 * pallor, 0.6, 1.0),
        (0.32 * pallor, 0.9, 1.0),
    ):
        colour = shade * (np.array(SALMON) + light * (np.array(PALLOR) - SALMON))
        points = _fixed(body * share + middle)
        cv2.fillPoly(canvas, [points], colour.tolist(), cv2.LINE_8, SHIFT)


def _develop(
    canvas: Canvas, traits: Traits, rng: np.random.Generator, size: int
) -> NDArray[np.uint8]:
    """Reduce the canvas and give it stain, light, focus and noise."""
    picture = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    low, high = (0.65, 0.85) if traits["focus"] == "soft" else (0.2, 0.35)
    blur = size / 64 * rng.uniform(low, high)
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    # Dyes absorb: the strength of a stain is a power of the transmitted light, per channel.
    strength = np.array(STAIN[traits["stain"]]) * rng.uniform(0.9, 1.1)
    warmth, green = rng.uniform(-0.12, 0.12), rng.uniform(-0.04, 0.04)
    gains = np.exp(rng.uniform(-0.4, 0.04) + np.array([warmth, green, -warmth]))
    clear = np.array(BACKGROUND)
    table = clear * gains * (np.arange(256)[:, None] / clear) ** strength
    picture = cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)[:, None, :])
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    across, down = rng.uniform(-0.14, 0.14, 2).astype(np.float32)
    light = 1 + across * ramp[None, :] + down * ramp[:, None]
    noise = rng.standard_normal((size, size), dtype=np.float32) * np.float32(rng.uniform(1, 5))
    lit = picture * light[..., None] + noise[..., None]
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << SHIFT)).astype(np.int32)


def _disc(canvas: Canvas, middle: Points, radius: float, colour: float | Sequence[float]) -> None:
    x, y = np.rint(middle * (1 << SHIFT)).astype(int).tolist()
    cv2.circle(canvas, (x, y), max(1, round(radius * (1 << SHIFT))), colour, -1, cv2.LINE_8, SHIFT)


def _shaded(colour: tuple[int, int, int], light: float) -> tuple[float, ...]:
    return tuple(min(255.0, c * light) for c in colour)
