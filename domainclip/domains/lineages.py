"""Turns columns of names into integer-coded nodes, without a Python loop over rows and ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import LabelError

from .names import clean, split_synonyms

Codes: TypeAlias = NDArray[np.int32]
Names: TypeAlias = NDArray[np.object_]

COMMON_COLUMNS = ("common", "common_name")
"""Columns that hold a row's common name, the first one present."""
SYNONYMS_COLUMN = "synonyms"
NAMED_ROWS = 10
"""Rows that an error names before it only counts them."""


@dataclass(frozen=True)
class Origin:
    """Where rows come from, so that an error can say which ones it means."""

    source: str = ""
    first: int = 0
    """Number of the first row: 0 in memory, 2 in a file whose header is row 1."""

    def say(self, rows: Iterable[int]) -> str:
        """Return "labels.csv, rows 2, 5 (the header is row 1)" for row indices from 0."""
        numbers = sorted(int(row) + self.first for row in rows)
        text = ", ".join(map(str, numbers[:NAMED_ROWS]))
        if len(numbers) > NAMED_ROWS:
            text += f" and {len(numbers) - NAMED_ROWS} more"
        counted = "the header is row 1" if self.first == 2 else f"counted from {self.first}"
        before = f"{self.source}, " if self.source else ""
        return f"{before}row{'s' if len(numbers) > 1 else ''} {text} ({counted})"


@dataclass(frozen=True)
class Nodes:
    """Nodes of a tree as `LabelTree` keeps them, rank by rank, parents before children."""

    names: Names
    parent: Codes
    rank: NDArray[np.int8]
    common: Names
    """Shape (n_nodes,): None for a node without a common name."""
    synonyms: Mapping[int, tuple[str, ...]]


def build_nodes(
    columns: Mapping[str, Sequence[Any]],
    ranks: Sequence[str],
    common: Sequence[Any] | None,
    synonyms: Sequence[Any] | None,
    *,
    unique: bool,
    origin: Origin,
) -> Nodes:
    """Build the nodes of a tree from one column of names a rank; see `LabelTree.from_columns`.

    Raises:
        LabelError: If there are no rows, a row has no name, or `unique` is broken.
    """
    names, parent, rank, rows = code_lineages(code_columns(columns, ranks))
    if not len(rows):
        raise LabelError(f"{origin.source or 'the table'} has no labels")
    if len(nameless := np.flatnonzero(rows < 0)):
        raise LabelError(
            f"{origin.say(nameless)}: no name at any of the ranks {', '.join(ranks)}",
            "give them a label, or leave them out",
        )
    counts = np.bincount(rows, minlength=len(names))
    if unique and (counts > 1).any():
        twice = np.flatnonzero(counts > 1)
        raise LabelError(
            f"{origin.say(np.flatnonzero(np.isin(rows, twice)))}: labels that occur more than "
            f"once: {', '.join(repr(name) for name in names[twice[:NAMED_ROWS]])}",
            "keep one row of each",
        )
    shown = np.full(len(names), None, dtype=object)
    for node, cell in _per_row(rows, common):
        if shown[node] is None and (name := clean(cell)):
            shown[node] = name
    more: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for node, cell in _per_row(rows, synonyms):
        if found := split_synonyms(cell):
            more[node].update(dict.fromkeys(found))
    return Nodes(names, parent, rank, shown, {node: tuple(found) for node, found in more.items()})


def _per_row(rows: Codes, values: Sequence[Any] | None) -> Iterable[tuple[int, Any]]:
    if values is None:
        return ()
    if len(values) != len(rows):
        raise LabelError(f"{len(values)} common names or synonyms for {len(rows)} rows")
    return zip(rows.tolist(), values, strict=True)


def code_column(column: Iterable[Any]) -> tuple[Codes, Names]:
    """Number the different names of a column in order of first appearance.

    Returns:
        Codes of shape (n_rows,), -1 where a name is missing; the names, shape (n_names,).
    """
    table: defaultdict[Any, int] = defaultdict()
    table.default_factory = table.__len__
    codes = np.fromiter(map(table.__getitem__, column), dtype=np.int32)
    known: dict[str, int] = {}
    cleaned = [clean(value) for value in table]
    table.clear()
    numbers = [known.setdefault(name, len(known)) if name else -1 for name in cleaned]
    names = np.empty(len(known), dtype=object)
    names[:] = list(known)
    return np.array([*numbers, -1], dtype=np.int32)[codes], names


def code_columns(
    columns: Mapping[str, Sequence[Any]], ranks: Sequence[str]
) -> list[tuple[Codes, Names] | None]:
    """Number the names of each rank; None for a rank that has no column.

    Raises:
        LabelError: If no rank has a column, or columns differ in length.
    """
    present = {rank: len(columns[rank]) for rank in ranks if rank in columns}
    if not present:
        raise LabelError(
            f"none of the ranks {', '.join(ranks)} is a column",
            f"there are {', '.join(map(str, columns)) or 'no columns'}",
        )
    if len(set(present.values())) > 1:
        raise LabelError(f"columns differ in length: {present}")
    return [code_column(columns[rank]) if rank in columns else None for rank in ranks]


def code_lineages(
    coded: Sequence[tuple[Codes, Names] | None],
) -> tuple[Names, Codes, NDArray[np.int8], Codes]:
    """Number the different lineages of all rows: coarsest rank first, then by first appearance.

    A node is told by its nearest present ancestor, its rank and its name: its full lineage.

    Args:
        coded: Codes of shape (n_rows,) and names of each rank, as `code_columns` returns them.

    Returns:
        Name, parent and rank of each node, and the node of each row: -1 for a row without any name.
    """
    n_rows = next(len(column[0]) for column in coded if column)
    current = np.full(n_rows, -1, dtype=np.int32)
    names: list[Names] = []
    parents: list[Codes] = []
    ranks: list[NDArray[np.int8]] = []
    count = 0
    for number, column in enumerate(coded):
        if column is None:
            continue
        codes, known = column
        rows = np.flatnonzero(codes >= 0)
        _, first, inverse = np.unique(
            _pair(current[rows], codes[rows], len(known)), return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        position = np.empty(len(order), dtype=np.int32)
        position[order] = np.arange(count, count + len(order), dtype=np.int32)
        heads = rows[first[order]]
        names.append(known[codes[heads]])
        parents.append(current[heads])
        ranks.append(np.full(len(heads), number, dtype=np.int8))
        current[rows] = position[inverse]
        count += len(order)
    return np.concatenate(names), np.concatenate(parents), np.concatenate(ranks), current


def match_lineages(
    columns: Mapping[str, Sequence[Any]],
    ranks: Sequence[str],
    names: Names,
    parent: Codes,
    rank: NDArray[np.int8],
) -> Codes:
    """Return the node of each row, shape (n_rows,); -1 where no node has its lineage.

    Args:
        columns: One column of names a rank.
        ranks: Ranks, coarsest first.
        names: Name of each node.
        parent: Parent of each node.
        rank: Rank of each node.
    """
    coded = code_columns(columns, ranks)
    found = np.full(next(len(column[0]) for column in coded if column), -1, dtype=np.int32)
    lost = np.zeros(len(found), dtype=bool)
    for number, column in enumerate(coded):
        if column is None:
            continue
        codes, known = column
        numbers = {name: i for i, name in enumerate(known)}
        nodes = np.flatnonzero(rank == number)
        own = np.fromiter((numbers.get(name, -1) for name in names[nodes]), np.int32, len(nodes))
        nodes, own = nodes[own >= 0], own[own >= 0]
        pairs = _pair(parent[nodes], own, len(known))
        order = np.argsort(pairs)
        rows = np.flatnonzero(codes >= 0)
        wanted = _pair(found[rows], codes[rows], len(known))
        at = np.searchsorted(pairs, wanted, sorter=order)
        hit = at < len(pairs)
        hit[hit] = pairs[order[at[hit]]] == wanted[hit]
        found[rows[hit]] = nodes[order[at[hit]]]
        lost[rows[~hit]] = True
    found[lost] = -1
    return found


def _pair(parents: Codes, codes: Codes, n_codes: int) -> NDArray[np.int64]:
    """Return one number for each (parent node or -1, name code)."""
    return (parents.astype(np.int64) + 1) * max(n_codes, 1) + codes
