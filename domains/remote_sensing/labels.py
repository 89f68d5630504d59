"""The label tree of scenes: land cover, kind of use, scene."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domainclip.domains.labels import LabelTree

RANKS = ("cover", "kind", "scene")
TABLE = Path(__file__).parent / "data" / "labels.csv"


@cache
def labels() -> LabelTree:
    """Build the tree from the table that ships with the plug."""
    return LabelTree.from_csv(TABLE, RANKS)
