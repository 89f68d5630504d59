"""The label tree of biology: kingdom to species, a species by its full binomial."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from domainclip.domains.labels import LabelTree

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
TABLE = Path(__file__).parent / "data" / "labels.csv"


@cache
def labels() -> LabelTree:
    """Build the tree from the table that ships with the plug."""
    return LabelTree.from_csv(TABLE, RANKS)


def add_epithet(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of a result with the epithet of its species before the binomial."""
    row: dict[str, str] = {}
    for rank, name in names.items():
        if rank == "species":
            row["species_epithet"] = name.partition(" ")[2]
        row[rank] = name
    return row
