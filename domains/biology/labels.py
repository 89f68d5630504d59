"""The label tree of biology: kingdom to species, a species by its full binomial."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domainclip.domains.labels import LabelTree

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
TABLE = Path(__file__).parent / "data" / "labels.csv"


@cache
def labels() -> LabelTree:
    """Build the tree from the table that ships with the plug."""
    return LabelTree.from_csv(TABLE, RANKS)
