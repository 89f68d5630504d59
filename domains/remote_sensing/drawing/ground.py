"""The ground of a tile: its cover gives the colour, its texture the relief and the parcels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from domainclip.domains.contract import Traits

from .canvas import GRID, Colour, Floats, Pixels, coordinates, noise, random_floats, seasonal

COVERS: dict[str, dict[str, Colour]] = {
    "green": {"green": (104, 132, 72), "dry": (152, 146, 86), "snow": (128, 138, 108)},
    "brown": {"green": (142, 112, 82), "dry": (164, 132, 92), "snow": (142, 122, 102)},
    "grey": {"green": (146, 144, 140), "dry": (154, 149, 139)},
    "sandy": {"green": (198, 178, 136), "dry": (208, 184, 138)},
}
"""RGB by cover and season."""

ACCENTS: dict[str, Colour] = {
    "green": (176, 164, 98),
    "brown": (108, 134, 78),
    "grey": (120, 128, 104),
    "sandy": (92, 128, 70),
}
"""The second colour of a cover's parcels and bands."""

Texture = Callable[[np.random.Generator, Floats, Floats, float], tuple[Floats, Floats | None]]
"""From the tile's frame (u along, v across) and the zoom to the relief and the accent's share."""


def paint_ground(
    traits: Traits,
    rng: np.random.Generator,
    size: int,
    angle: float,
    zoom: float,
    corner: tuple[float, float],
) -> Pixels:
    """Return the ground of shape (size, size, 3) without anything on it."""
    cover, season = traits["ground"], traits["season"]
    x, y = coordinates(size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    # the frame's origin moves to a block's corner
    block = np.float32(GRID * zoom)
    u, v = u - block * np.float32(corner[0]), v - block * np.float32(corner[1])
    relief, share = TEXTURES[traits["texture"]](rng, u, v, zoom)
    relief = relief + np.float32(0.05) * noise(rng, size, 3)
    base = np.array(seasonal(COVERS[cover], season), np.float32) + random_floats(rng, -9, 9, 3)
    if share is None:
        ground = base * (1 + relief)[..., None]
    else:
        accent = np.array(ACCENTS[cover], np.float32) + random_floats(rng, -12, 12, 3)
        ground = (base + share[..., None] * (accent - base)) * (1 + relief)[..., None]
    if season == "snow":
        cover_share = np.clip(0.42 + 0.3 * noise(rng, size, 7), 0, 0.75)[..., None]
        ground += cover_share * (np.float32(236) - ground)
    pixels: Pixels = np.clip(ground, 0, 255).astype(np.uint8)
    return pixels


def _smooth(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    return np.float32(0.03) * noise(rng, len(u), 6), None


def _speckled(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    fine = noise(rng, len(u), round(24 / zoom))
    return np.float32(0.2) * np.clip(fine, -1.1, 1.1), None


def _furrowed(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    period = np.float32(0.07 * zoom)
    wave = np.sin((v + 0.006 * noise(rng, len(u), 3)) * (2 * np.pi / period) + rng.uniform(0, 6.28))
    return np.float32(0.2) * wave.astype(np.float32), None


def _rippled(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    period = np.float32(0.15 * zoom)
    phase = (v + 0.05 * noise(rng, len(u), 4)) / period + rng.uniform(0, 1)
    part = phase - np.floor(phase)
    # a long lit slope and a short shaded one, as wind leaves them
    slope = np.where(part < 0.68, part / 0.68, (1 - part) / 0.32) * 2 - 1
    return np.float32(0.24) * slope.astype(np.float32), None


def _patchwork(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    column = u / np.float32(0.31 * zoom) + 8
    i = column.astype(np.int32)
    depth, start = random_floats(rng, 0.2, 0.38, 16), random_floats(rng, 0, 1, 16)
    row = v / (depth[i] * np.float32(zoom)) + start[i] + 8
    j = row.astype(np.int32)
    share, relief = random_floats(rng, 0, 1, 16, 24), random_floats(rng, -0.22, 0.22, 16, 24)
    rim = (np.minimum(column - i, row - j) < 0.06).astype(np.float32)
    return relief[i, j] * (1 - rim) - np.float32(0.3) * rim, share[i, j]


def _stepped(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    height = (v * 1.6 + 0.3 * noise(rng, len(u), 3)) * (4.2 / zoom) + 40
    step = height.astype(np.int32)
    part = height - np.floor(height)
    share, tone = random_floats(rng, 0, 0.8, 96), random_floats(rng, -0.12, 0.12, 96)
    wall = np.clip(6 * np.minimum(part, 0.24 - part) + 0.3, 0, 1).astype(np.float32)
    return tone[step] * (1 - wall) - np.float32(0.42) * wall, share[step]


def _circles(
    rng: np.random.Generator, u: Floats, v: Floats, zoom: float
) -> tuple[Floats, Floats | None]:
    column, row = u / np.float32(GRID * zoom) + 8, v / np.float32(GRID * zoom) + 8
    i, j = column.astype(np.int32), row.astype(np.int32)
    x, y = column - i - np.float32(0.5), row - j - np.float32(0.5)
    inside = np.clip((0.4 - np.hypot(x, y)) * (GRID * zoom * len(u)) + 0.5, 0, 1)  # a soft rim
    # each disc has a sector that was cut or sown at another time
    turn = np.arctan2(y, x) / np.float32(2 * np.pi) + random_floats(rng, 0, 1, 20, 20)[i, j]
    sector = (turn - np.floor(turn) < 0.3).astype(np.float32)
    share = random_floats(rng, 0.75, 1.0, 20, 20)[i, j] - np.float32(0.5) * sector
    relief = random_floats(rng, -0.3, 0.0, 20, 20)[i, j]
    return inside * relief, inside * share


TEXTURES: dict[str, Texture] = {
    "smooth": _smooth,
    "speckled": _speckled,
    "furrowed": _furrowed,
    "rippled": _rippled,
    "patchwork": _patchwork,
    "stepped": _stepped,
    "circles": _circles,
}
"""Every value of the trait `texture`, and what paints it."""
