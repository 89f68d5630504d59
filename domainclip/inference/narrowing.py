"""Fewer labels to choose from: those under a name at any rank, or those of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.labels import SUGGEST_AMONG, LabelTree
from domainclip.domains.readers import read_table
from domainclip.errors import DataError, LabelError, UsageError, suggest

from .candidates import Candidates


@dataclass(frozen=True)
class Listed:
    """Names of a list, such as what lives in a region."""

    names: tuple[str, ...]
    rank: str | None = None
    """The title of their column: the rank that they are names at, or a name like the others."""
    source: str = ""
    """Where it was read."""


def read_list(path: str | Path) -> Listed:
    """Read a list of names: one a line, or the first column of a CSV, which its title may rank.

    Raises:
        UsageError: If there is no such file.
        DataError: If there is no name in it.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f"{path}: no such file", "name a list of names, one a line, or a CSV")
    rank = None
    if file.suffix.lower() in (".csv", ".tsv"):
        title, column = next(iter(read_table(file).items()), ("", []))
        rank, names = title.strip().lower(), [str(name or "").strip() for name in column]
    else:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    found = tuple(dict.fromkeys(name for name in names if name))
    if not found:
        raise DataError(f"{path}: no name in it", "write one a line")
    return Listed(found, rank, str(path))


def narrow(
    found: Candidates, within: str | Sequence[str], subset: Listed | Sequence[str] | None
) -> tuple[Candidates, list[str]]:
    """Return fewer candidates, and the names of a list that are not known.

    Args:
        found: The candidates.
        within: Names at any rank, all of which have to be known.
        subset: A list, some of whose names may be unknown.

    Raises:
        UsageError: If the candidates have no tree.
        LabelError: If a name is unknown, or nothing is left.
    """
    lists = [Listed((name,)) for name in ([within] if isinstance(within, str) else within)]
    if subset is not None and not isinstance(subset, Listed):
        subset = Listed((subset,) if isinstance(subset, str) else tuple(subset))
    if not lists and subset is None:
        return found, []
    tree, nodes = found.tree, found.nodes
    if tree is None or nodes is None:
        raise UsageError("these labels have no tree to narrow", "leave out those not wanted")
    rows, unknown = np.arange(len(nodes)), list[str]()
    if lists:
        rows = np.unique(np.concatenate([find_rows(tree, nodes, one)[0] for one in lists]))
    if subset is not None:
        inside, unknown = find_rows(tree, nodes, subset)
        rows = np.intersect1d(rows, inside)
    if not len(rows):
        raise LabelError(
            "no label to choose from lies in all that was asked for", "ask for less at once"
        )
    return found.narrow(rows), unknown


def find_rows(
    tree: LabelTree, nodes: NDArray[np.int64], listed: Listed
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the labels that are in a list or lie under something in it, and the names not known.

    Args:
        tree: The tree of the labels.
        nodes: The labels, shape (n,).
        listed: The names, at any rank where their title is none.

    Raises:
        LabelError: If none of the names is known.
    """
    number = tree.ranks.index(listed.rank) if listed.rank in tree.ranks else None
    titled = listed.rank is not None and number is None and tree.find(listed.rank)
    names = (str(listed.rank), *listed.names) if titled else listed.names
    inside = np.zeros(len(tree) + 1, dtype=bool)  # the last stands for the -1 of a missing rank
    unknown = []
    for name in names:
        found = [n for n in tree.find(name) if number is None or tree.rank[n] == number]
        inside[found] = True
        if not found:
            unknown.append(name)
    if len(unknown) == len(names):
        where = f"{listed.source}: no label is known by a name in it" if listed.source else (
            "no label is known by this name" if len(unknown) == 1 else "no label is known by these"
        )  # fmt: skip
        raise LabelError(where, say_unknown(tree, unknown))
    return np.flatnonzero(inside[tree.ancestors[nodes]].any(axis=1)), unknown


def say_unknown(tree: LabelTree, unknown: Sequence[str], limit: int = 5) -> str:
    """Say which names are not known, and what was meant by those that are misspelt."""
    told = ", ".join(repr(name) for name in unknown[:limit])
    more = f" and {len(unknown) - limit} more" if len(unknown) > limit else ""
    said = f"not known: {told}{more}"
    if len(tree) > SUGGEST_AMONG:
        return said
    names = tree.names.tolist()
    near = [(name, suggest(name, names)) for name in unknown[:limit]]
    if len(unknown) == 1:
        return "; ".join([said, *(hint for _, hint in near if hint)])
    return "; ".join([said, *(f"for {name!r}, {hint}" for name, hint in near if hint)])
