"""Turns columns of names into integer-coded nodes, without a Python loop over rows and ranks."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import LabelError

Codes: TypeAlias = NDArray[np.int32]
Names: TypeAlias = NDArray[np.object_]

COMMON_COLUMNS = ("common", "common_name")
"""Columns that hold a row's common name, the first one present."""
SYNONYMS_COLUMN = "synonyms"
SEPARATOR = "|"
"""Between the synonyms of one label in one cell."""
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
class Coded:
    """Nodes of a tree and the node of each row, as `LabelTree` keeps them."""

    names: Names
    parent: Codes
    rank: NDArray[np.int8]
    rows: Codes
    """Shape (n_rows,): the node that each row is labelled with, -1 for a row without any name."""


def clean(value: Any) -> str:
    """Return a name without outer blanks, in Unicode NFC; "" where it is missing.

    Raises:
        LabelError: If it is neither text nor a whole number.
    """
    if isinstance(value, str):
        text = value.strip()
        return text if text.isascii() else unicodedata.normalize("NFC", text).strip()
    if value is None or value != value:  # a NaN is what other libraries put for a missing cell
        return ""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(value)
    raise LabelError(
        f"the name {value!r} is a {type(value).__name__}, not text",
        "read the table with its names as text, so that 007 stays 007",
    )


def fold(name: str) -> str:
    """Return what two spellings of a name share: case and underscores do not count."""
    return " ".join(unicodedata.normalize("NFC", name.replace("_", " ").casefold()).split())


def split_synonyms(cell: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the different names of one cell: text separated by "|", or a sequence of names."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ()
    parts = [cell] if isinstance(cell, str) else [clean(part) for part in cell]
    names = (clean(name) for part in parts for name in part.split(SEPARATOR))
    return tuple(dict.fromkeys(name for name in names if name))


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


def code_lineages(coded: Sequence[tuple[Codes, Names] | None]) -> Coded:
    """Number the different lineages of all rows: coarsest rank first, then by first appearance.

    A node is told by its nearest present ancestor, its rank and its name, which is its full lineage.

    Args:
        coded: Codes of shape (n_rows,) and names of each rank, as `code_columns` returns them.
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
            pair(current[rows], codes[rows], len(known)), return_index=True, return_inverse=True
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
    return Coded(np.concatenate(names), np.concatenate(parents), np.concatenate(ranks), current)


def pair(parents: Codes, codes: Codes, n_codes: int) -> NDArray[np.int64]:
    """Return one number for each (parent node or -1, name code)."""
    return (parents.astype(np.int64) + 1) * max(n_codes, 1) + codes
