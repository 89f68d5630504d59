"""Names as they are written in tables: cleaned, compared and split."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from domainclip.errors import LabelError

SEPARATOR = "|"
"""Between the synonyms of one label in one cell."""


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


class NameIndex:
    """Nodes by hash, in two arrays: a twentieth of the memory of a dict of strings."""

    def __init__(self, hashes: Iterable[int], nodes: Iterable[int]) -> None:
        values = np.fromiter(hashes, dtype=np.int64)
        order = np.argsort(values, kind="stable")
        self._hashes = values[order]
        self._nodes = np.fromiter(nodes, dtype=np.int32)[order]

    def get(self, value: int) -> list[int]:
        """Return the nodes with a hash, once each and in order; others may share it."""
        low = np.searchsorted(self._hashes, value, side="left")
        high = np.searchsorted(self._hashes, value, side="right")
        found: list[int] = self._nodes[low:high].tolist()
        return sorted(set(found))
