"""The built-in data of biology: trait sheets from a table, individuals, and how many pictures."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

from domainclip.domains.contract import BuiltinData, TraitSheet

from .captions import captions, describe
from .drawing import POSES, draw
from .labels import labels
from .scene import BACKGROUNDS

SHEETS = Path(__file__).parent / "data" / "traits.csv"


@cache
def sheets() -> tuple[TraitSheet, ...]:
    """Read the trait sheets: one a species, 40 seen and 10 that are never trained on."""
    tree = labels()
    with SHEETS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        TraitSheet(
            label=tree.key(tree.find(row.pop("species"))[0]),
            seen=row.pop("seen") == "yes",
            traits=row,
        )
        for row in rows
    )


def individual(sheet: TraitSheet, rng: np.random.Generator) -> dict[str, str]:
    """Draw what the sheet leaves open: pose, sex, wear and background."""
    return {
        "pose": str(rng.choice(POSES, p=(0.5, 0.25, 0.25))),
        "sex": "male" if rng.random() < 0.5 else "female",
        "wear": "fresh" if rng.random() < 0.6 else "worn",
        "background": BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))],
    }


BUILTIN = BuiltinData(
    sheets=sheets,
    individual=individual,
    draw=draw,
    captions=captions,
    describe=describe,
    sizes={"train": 4000, "val": 400, "test": 2000, "test_unseen": 500},
    licence="MIT",
)
