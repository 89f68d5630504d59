"""How a query is answered: exactly, or among some of the partitions of the vector index."""

from __future__ import annotations

import math
from dataclasses import dataclass

LARGE = 50_000
"""Rows from which there is a vector index. Fewer are compared one by one, which takes 2 ms for each
thousand of 512 dimensions on two busy cores."""
FEW = 2_000
"""Rows that pass a filter and are compared one by one even so: 0.1% of a million took 15 ms this
way and 30 ms by all partitions of the index; 1% took 108 ms, and 38 to 56 ms by the index."""
LEAST = 0.1
"""Share of the partitions that is searched at least. Of a million vectors in 10,000 clusters, 40 of
1000 partitions found 0.961 of the ten nearest of a query from the clusters, 63 found 0.969 and 100
found 0.979, in 8, 10 and 12 ms."""
SURE = 100_000
"""Rows that are looked through at least, in 12 ms: of so many in wide clusters (a cosine of 0.3
within) a tenth of the partitions found 0.954 of the ten nearest."""
REFINE = 5
"""For each result so many candidates are compared by their full vectors: eight bits a dimension
alone tell close ones apart too roughly (0.967 of the ten nearest, with 3 candidates all)."""


@dataclass(frozen=True)
class Plan:
    """How a query is answered."""

    partitions: int | None
    """How many are searched, nearest first; None for an exact search."""
    said: str
    """The plan in words."""


def count_partitions(rows: int) -> int:
    """Return the partitions of an index: about the square root of its rows.

    So looking for the nearest partitions costs about as much as looking into one.
    """
    return round(math.sqrt(rows))


def plan(rows: int, kept: int, partitions: int, *, of_pictures: bool, exact: bool = False) -> Plan:
    """Choose how to search.

    The nearest vectors lie in the nearest partitions only where the query is like the vectors and
    nothing is filtered out. A text is like no picture: of queries at a cosine of 0.3 to their
    nearest vectors, 64 of 1024 partitions found half, and only all of them found all. A filter that
    follows the clusters takes away what is near a query with probability 1 - kept / rows, and what
    is left may lie anywhere: where a tenth of the clusters was kept, half of the partitions found
    0.83 of the ten nearest; where half of them was kept, an eighth found 0.73 and half 0.96. So the
    share that is searched is twice the share that is filtered out, and at least `LEAST` of the
    partitions and those of `SURE` rows. All partitions of a million rows took 40 ms without a
    filter, 47 ms with one that kept a tenth, 96 to 207 ms with one that kept half.

    Args:
        rows: Rows of the index.
        kept: Rows that pass the filter.
        partitions: Partitions of the vector index; 0 where there is none.
        of_pictures: Whether the query lies among the pictures, and is not made of words.
        exact: Compare with every row that is kept.
    """
    among = f"{kept:,} of {rows:,} pictures"
    if exact or not partitions or kept <= FEW:
        return Plan(None, f"exact search of {among}")
    share = max(LEAST, SURE / rows, 2 * (1 - kept / rows)) if of_pictures else 1.0
    searched = math.ceil(min(1.0, share) * partitions)
    return Plan(searched, f"search of {among} in {searched:,} of {partitions:,} partitions")
