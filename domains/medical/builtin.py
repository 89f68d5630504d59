"""Built-in schematic blood-smear cells: trait sheets from a table, and what they leave open."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

from domainclip.domains.contract import BuiltinData, TraitSheet

from .captions import captions, describe
from .drawing import draw
from .labels import labels

SHEETS = Path(__file__).parent / "data" / "traits.csv"


@cache
def sheets() -> tuple[TraitSheet, ...]:
    """Return the trait sheets of all cell types, in the order of the table.

    An empty cell of the table is a trait that does not apply, such as where the nucleus lies in a
    cell without one.
    """
    tree = labels()
    keys = {tree.name(int(node)): tree.key(int(node)) for node in tree.leaves}
    with SHEETS.open(encoding="utf-8", newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    return tuple(
        TraitSheet(
            label=keys[row.pop("name")],
            seen=row.pop("seen") == "yes",
            traits={trait: value for trait, value in row.items() if value},
        )
        for row in rows
    )


def individual(sheet: TraitSheet, rng: np.random.Generator) -> dict[str, str]:
    """Draw what the sheet leaves open: area of the smear, stain, focus, vacuoles, overlap."""
    roomy = sheet.traits.get("cytoplasm amount") in ("moderate", "wide")
    vacuolated = roomy and sheet.label[0] == "leukocyte"
    return {
        "area": str(rng.choice(["thin", "crowded"])),
        "stain": str(rng.choice(["pale", "deep", "bluish"])),
        "focus": str(rng.choice(["sharp", "soft"], p=[0.75, 0.25])),
        "overlap": str(rng.choice(["none", "red cell"], p=[0.75, 0.25])),
        "vacuoles": str(rng.choice(["none", "two", "several"], p=[0.6, 0.2, 0.2]))
        if vacuolated
        else "none",
    }


BUILTIN = BuiltinData(
    sheets=sheets,
    individual=individual,
    draw=draw,
    captions=captions,
    describe=describe,
    sizes={"train": 3000, "val": 300, "test": 2000, "test_unseen": 500},
    licence="MIT",
)
