"""The built-in tiles: sheets from a table, individuals by chance, all else by the traits."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from domainclip.domains.contract import BuiltinData, Traits, TraitSheet

from .captions import captions, describe
from .labels import RANKS, TABLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHEETS = Path(__file__).parent / "data" / "traits.csv"

CHANCES: dict[str, dict[str, float]] = {
    "season": {"green": 0.5, "dry": 0.35, "snow": 0.15},
    "air": {"clear": 0.7, "hazy": 0.3},
    "sun": {"low": 0.5, "high": 0.5},
    "sky": {"open": 0.75, "cloudy": 0.25},
    "direction": {"aligned": 0.5, "diagonal": 0.5},
}
"""Traits that a sheet leaves open, with the share of each value."""


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def sheets() -> tuple[TraitSheet, ...]:
    """Return the trait sheet of every scene, in the order of their table."""
    lineages = {row["scene"]: tuple(row[rank] for rank in RANKS) for row in _rows(TABLE)}
    return tuple(
        TraitSheet(
            label=lineages[row["scene"]],
            traits={name: value for name, value in row.items() if name not in ("scene", "seen")},
            seen=row["seen"] == "yes",
        )
        for row in _rows(SHEETS)
    )


def individual(sheet: TraitSheet, rng: np.random.Generator) -> dict[str, str]:
    """Draw the season, air, sun, sky and direction of one tile; no snow falls on sand."""
    drawn = {
        name: str(rng.choice(list(shares), p=list(shares.values())))
        for name, shares in CHANCES.items()
    }
    if drawn["season"] == "snow" and sheet.traits["ground"] == "sandy":
        drawn["season"] = "dry"
    return drawn


def draw(traits: Traits, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one tile of shape (size, size, 3)."""
    from .drawing.tile import draw_tile  # cv2 is loaded by those who draw

    return draw_tile(traits, rng, size)


BUILTIN = BuiltinData(
    sheets=sheets,
    individual=individual,
    draw=draw,
    captions=captions,
    describe=describe,
    sizes={"train": 3600, "val": 360, "test": 2000, "test_unseen": 500},
    licence="MIT",
)
