"""Reads Darwin Core terms (https://dwc.tdwg.org/terms/) into one column of names a rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import LabelError

from .lineages import COMMON_COLUMNS, SYNONYMS_COLUMN, Origin
from .names import clean

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""The ranks that a tree from Darwin Core has; others only lead from a child to its parent."""

_FINEST, _ABOVE = RANKS[-1], RANKS[-2]


def read_darwin_core(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return one column a rank, the common name and the synonyms of each label.

    With `taxonID` and `parentNameUsageID` a row is a label of the rank `taxonRank` below its
    parent; rows with an `acceptedNameUsageID` of another row are synonyms of that one. Otherwise a
    row is the lineage in its rank columns. The finest name is made a binomial, without authors.

    Args:
        columns: Columns by term; a prefix "dwc:" and case do not count.

    Raises:
        LabelError: If ids are missing or repeat, parents are unknown or go round in a circle, or a
            finer rank lies above a coarser one; rows are counted from 0.
    """
    lower = {str(name).lower().removeprefix("dwc:"): column for name, column in columns.items()}
    cells = {name: [clean(cell) for cell in column] for name, column in lower.items()}
    if len({len(column) for column in cells.values()}) > 1:
        raise LabelError("columns differ in length")
    if "taxonid" in cells and any(cells.get("parentnameusageid", ())):
        return _by_parents(cells)
    return _by_columns(cells)


def _by_columns(cells: Mapping[str, list[str]]) -> dict[str, list[Any]]:
    n_rows = len(next(iter(cells.values()), ()))
    blank = [""] * n_rows
    found: dict[str, list[Any]] = {rank: list(cells.get(rank, blank)) for rank in RANKS}
    epithets, own_ranks = cells.get("specificepithet", blank), cells.get("taxonrank", blank)
    for row, name in enumerate(found[_FINEST]):
        name = name or epithets[row]
        if name:
            found[_FINEST][row] = _binomial(found[_ABOVE][row], name)
        elif own_ranks[row].lower() == _FINEST:
            found[_FINEST][row] = _scientific_name(cells, row, _FINEST)
    return {**found, **_common(cells, range(n_rows))}


def _by_parents(cells: Mapping[str, list[str]]) -> dict[str, list[Any]]:
    ids = cells["taxonid"]
    _refuse([row for row, one in enumerate(ids) if not one], "no taxonID", "give each row one")
    index: dict[str, int] = {}
    twice = [row for row, one in enumerate(ids) if index.setdefault(one, row) != row]
    _refuse(
        sorted({*twice, *(index[ids[row]] for row in twice)}),
        f"the taxonID {ids[twice[0]] if twice else ''!r} more than once",
        "an id names one row",
    )
    accepted = _pointers(cells.get("acceptednameusageid", [""] * len(ids)), index, "accepted name")
    accepted[accepted == np.arange(len(ids))] = len(ids)  # a row may say that it is accepted itself
    _refuse(_circles(accepted), "accepted names in a circle", "one of them has to be accepted")
    target = np.arange(len(ids) + 1)
    while (moving := np.append(accepted, len(ids))[target] < len(ids)).any():
        target[moving] = accepted[target[moving]]
    parent = target[_pointers(cells["parentnameusageid"], index, "parent")]
    is_synonym = target[:-1] != np.arange(len(ids))
    _refuse(_circles(parent), "parents in a circle", "a label cannot lie below itself")

    numbers = {rank: number for number, rank in enumerate(RANKS)}
    own = cells.get("taxonrank", [""] * len(ids))
    rank = np.array([numbers.get(name.lower(), -1) for name in own], dtype=np.int8)
    names = np.array(
        [_scientific_name(cells, row, RANKS[r]) if r >= 0 else "" for row, r in enumerate(rank)],
        dtype=object,
    )
    rows = np.flatnonzero((rank >= 0) & ~is_synonym)
    if not len(rows):
        raise LabelError(f"no row has a taxonRank among {', '.join(RANKS)}")
    _refuse(rows[names[rows] == ""], "no scientificName", "give each row one")
    lineage = _climb(rows, parent, rank, names)
    synonyms: dict[int, list[str]] = {}
    for row in np.flatnonzero(is_synonym).tolist():
        name = names[row] or _scientific_name(cells, row, own[row].lower())
        synonyms.setdefault(int(target[row]), []).append(name)
    found: dict[str, list[Any]] = {r: lineage[:, i].tolist() for i, r in enumerate(RANKS)}
    found |= _common(cells, rows.tolist())
    return {**found, SYNONYMS_COLUMN: [synonyms.get(row) for row in rows.tolist()]}


def _climb(
    rows: NDArray[np.intp], parent: NDArray[np.intp], rank: NDArray[np.int8], names: NDArray[Any]
) -> NDArray[Any]:
    """Return the names of the rows and of all above them, shape (n_rows, n_ranks)."""
    lineage = np.full((len(rows), len(RANKS)), "", dtype=object)
    last = np.full(len(rows), len(RANKS))
    wrong = np.zeros(len(rows), dtype=bool)
    here, places = rows.copy(), np.arange(len(rows))
    while len(here):
        ranks = rank[here]
        listed = ranks >= 0
        wrong[places[listed & (ranks >= last[places])]] = True
        at = places[listed]
        lineage[at, ranks[listed]] = names[here[listed]]
        last[at] = ranks[listed]
        here = parent[here]
        inside = here < len(parent)
        here, places = here[inside], places[inside]
    _refuse(rows[wrong], "a rank above them is not coarser", "look at taxonRank of their parents")
    return lineage


def _pointers(cells: Sequence[str], index: Mapping[str, int], what: str) -> NDArray[np.intp]:
    """Return the row that each cell's id means, the number of rows where it is empty."""
    dangling = [row for row, one in enumerate(cells) if one and one not in index]
    unknown = cells[dangling[0]] if dangling else ""
    _refuse(dangling, f"the {what} {unknown!r} has no row", "add it, or leave the cell empty")
    return np.array([index[one] if one else len(cells) for one in cells], dtype=np.intp)


def _circles(pointers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows that lie on a circle: where one ends up after at least n steps."""
    after = np.append(pointers, len(pointers))
    for _ in range(len(pointers).bit_length()):
        after = after[after]
    ends = np.unique(after)
    return ends[ends < len(pointers)]


def _scientific_name(cells: Mapping[str, list[str]], row: int, rank: str) -> str:
    """Return a row's own name without its authors."""
    if canonical := _cell(cells, "canonicalname", row):
        return canonical
    upper, epithet = _cell(cells, "genus", row), _cell(cells, "specificepithet", row)
    if rank == _FINEST and upper and epithet:
        return _binomial(upper, epithet)
    name = _cell(cells, "scientificname", row)
    if "scientificnameauthorship" in cells:
        return name.removesuffix(cells["scientificnameauthorship"][row]).strip()
    words = name.split()
    last = next((i for i, word in enumerate(words[1:], 1) if word[0].islower()), 0)
    if rank == _FINEST and last:  # "Danaus (Danaus) plexippus (Linnaeus, 1758)"
        return f"{words[0]} {words[last]}"
    return words[0] if words and rank in RANKS[:-1] else name


def _binomial(upper: str, name: str) -> str:
    """Return a binomial for a name that may be an epithet alone: in lower case, or a hybrid's."""
    is_epithet = name[0].islower() or name[0] == "×"
    return f"{upper} {name}" if upper and is_epithet else name


def _common(cells: Mapping[str, list[str]], rows: Sequence[int]) -> dict[str, list[Any]]:
    terms = [term for term in ("vernacularname", *COMMON_COLUMNS) if term in cells]
    return {COMMON_COLUMNS[0]: [cells[terms[0]][row] for row in rows]} if terms else {}


def _cell(cells: Mapping[str, list[str]], term: str, row: int) -> str:
    return cells[term][row] if term in cells else ""


def _refuse(rows: Sequence[int] | NDArray[np.intp], message: str, hint: str) -> None:
    if len(rows):
        raise LabelError(f"{Origin().say(list(rows))}: {message}", hint)
