"""What a row of results says of a picture and of a name, in the columns of pybioclip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import COMMON
from domainclip.domains.groups import Groups
from domainclip.domains.labels import LabelTree

from .pictures import BOX, Crop

Told: TypeAlias = dict[str, Any]
AddColumns: TypeAlias = Callable[[Mapping[str, str]], Mapping[str, str]]
FIXED = ("file_name", "x", "y", "w", "h", "rank", "common_name", "score")
"""Columns that are no name."""


def tell_picture(picture: Any, number: int) -> Told:
    """Return what a row says of a picture: its file, and its box where it is a crop.

    Args:
        picture: A path or a crop; of anything else only its number is said.
        number: How many pictures came before.
    """
    if isinstance(picture, Crop):
        box = {side: getattr(picture, side) for side in BOX}
        whole = {side: int(n) if n.is_integer() else n for side, n in box.items()}
        return {"file_name": picture.file, **whole}
    named = isinstance(picture, str) or hasattr(picture, "__fspath__")
    return {"file_name": str(picture) if named else str(number)}


def tell_classes(names: Sequence[str]) -> list[Told]:
    """Return what rows say of labels without ranks, and of bins."""
    return [{"classification": str(name)} for name in names]


def tell_nodes(
    tree: LabelTree,
    nodes: NDArray[np.int64],
    rank: str | None,
    groups: Groups | None,
    add: AddColumns | None = None,
) -> list[Told]:
    """Return what rows say of labels of a tree: their names from the coarsest rank on.

    A common name comes with them; at a coarser rank only where some name there has one, so that the
    columns are those of pybioclip.

    Args:
        tree: The tree.
        nodes: The labels, shape (n,).
        rank: The rank that is told apart; None for the labels themselves.
        groups: Their groups at that rank.
        add: Adds columns that people of a field expect.
    """
    shown = tree.ranks if rank is None else tree.ranks[: tree.ranks.index(rank) + 1]
    if groups is not None:
        # Any member tells the coarser ranks of a group, of a bucket without a name as well.
        nodes = nodes[np.unique(groups.codes, return_index=True)[1]]
    rows = []
    for i, node in enumerate(nodes.tolist()):
        above = tree.ancestors[node, : len(shown)]
        names = ["" if a < 0 else tree.name(int(a)) or "" for a in above]
        row: Told = dict(zip(shown, names, strict=True))
        own = node if groups is None else int(groups.nodes[i])
        if groups is not None:
            row[shown[-1]] = groups.names[i]
        row = dict(add(row)) if add else row
        row["common_name"] = "" if own < 0 else tree.name(own, COMMON) or ""
        rows.append(row)
    if shown != tree.ranks and not any(row["common_name"] for row in rows):
        for row in rows:
            del row["common_name"]
    return rows


def tell_node(
    tree: LabelTree,
    node: int,
    ranks: Sequence[str],
    add: AddColumns | None = None,
) -> Told:
    """Return what a row says of a node at any rank: its line, "" below it; -1 for no node.

    Args:
        tree: The tree.
        node: The node.
        ranks: The ranks that rows have columns for.
        add: Adds columns that people of a field expect.
    """
    line = tree.ancestors[node, : len(ranks)].tolist() if node >= 0 else [-1] * len(ranks)
    names = ["" if a < 0 else tree.name(a) or "" for a in line]
    row: Told = dict(zip(ranks, names, strict=True))
    row = dict(add(row)) if add else row
    row["common_name"] = "" if node < 0 else tree.name(node, COMMON) or ""
    return row


def tell_rank(told: Sequence[Told], rank: str, columns: Sequence[str]) -> list[Told]:
    """Return what rows say of names at one of several ranks: the rank first, in equal columns."""
    return [{"rank": rank, **{c: row.get(c, "") for c in columns}} for row in told]


def tell_name(row: Told, *, with_file: bool = False) -> str:
    """Return the deepest name of a row, after its file and a tab where several could be meant."""
    names = [str(value) for column, value in row.items() if column not in FIXED]
    name = next((name for name in reversed(names) if name), "")
    return f"{row['file_name']}\t{name}" if with_file else name


def shorten(row: Told) -> Told:
    """Return a row with its deepest name alone, for where all ranks do not fit."""
    *before, common, score = FIXED
    kept = {column: row[column] for column in before if column in row}
    rest = {column: row[column] for column in (common, score) if column in row}
    return {**kept, "name": tell_name(row), **rest}
