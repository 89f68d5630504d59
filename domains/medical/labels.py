"""The label tree of blood cells: lineage, series, stage and cell type."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domainclip.domains.labels import LabelTree

RANKS = ("lineage", "series", "stage", "cell_type")
TABLE = Path(__file__).parent / "data" / "labels.csv"


@cache
def labels() -> LabelTree:
    """Build the tree from the table that ships with the plug."""
    return LabelTree.from_csv(TABLE, RANKS)
