"""Gives a user's own tree what a domain's tree knows of the same labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .contract import COMMON, LabelKey
from .names import fold

if TYPE_CHECKING:
    from .labels import LabelTree


class Enriched(NamedTuple):
    """A tree with more names, how many labels were known, and where the old nodes went."""

    tree: LabelTree
    matched: int
    """Leaves of the old tree that the other one knows; their ancestors are not counted."""
    nodes: NDArray[np.int32]
    """Shape (n_old_nodes,): the new node of each old one."""


def enrich_tree(own: LabelTree, other: LabelTree) -> Enriched:
    """Add the other tree's common names, synonyms and, to a flat tree, its ranks.

    A label of a tree with several ranks matches the one node of the same formal name at the rank of
    the same name whose lineage does not contradict its own; it keeps its lineage. A label of a flat
    tree (one rank) matches the one node that its name means in any vocabulary and takes over that
    lineage, unless two labels mean the same node. An unmatched one stands at the flat tree's rank
    if the other has it, else at the finest, with nothing above. Own common names stay; case and "_"
    do not count. A flat tree of which nothing matches is returned as it is.

    Args:
        own: The user's tree.
        other: The domain's tree.
    """
    flat = len(own.ranks) == 1
    matches = _match_flat(own, other) if flat else _match_lineages(own, other)
    if not matches:
        return Enriched(own, 0, np.arange(len(own), dtype=np.int32))
    ranks = other.ranks if flat else own.ranks
    gap = ranks.index(own.ranks[0]) if own.ranks[0] in ranks else len(ranks) - 1
    keys: list[LabelKey] = []
    common: list[str | None] = []
    synonyms: list[tuple[str, ...]] = []
    for node in range(len(own)):
        match = matches.get(node)
        key = own.key(node)
        if flat:
            key = other.key(match) if match is not None else ("",) * gap + key
        keys.append(key)
        shown, more = own.name(node, COMMON), own.all_names(node)
        if match is not None:
            shown = shown or other.name(match, COMMON)
            more += other.all_names(match)
        common.append(shown)
        synonyms.append(_different(more, key[-1], shown or ""))
    rows = len(keys)
    if flat:  # the ancestors that came along bring their names
        above = np.unique(other.ancestors[list(matches.values())])
        for node in above[above >= 0].tolist():
            keys.append(other.key(node))
            common.append(other.name(node, COMMON))
            synonyms.append(other.synonyms(node))
    columns = {r: [k[i] if i < len(k) else "" for k in keys] for i, r in enumerate(ranks)}
    tree = type(own).from_columns(columns, ranks, common=common, synonyms=synonyms)
    matched = int(np.isin(own.leaves, list(matches)).sum())
    return Enriched(tree, matched, tree.nodes_of(columns)[:rows])


def _different(names: Iterable[str], *known: str) -> tuple[str, ...]:
    """Return one spelling of each name that is not known."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(fold(name), name)
    return tuple(name for folded, name in found.items() if folded not in set(map(fold, known)))


def _match_flat(own: LabelTree, other: LabelTree) -> dict[int, int]:
    matches = {}
    for node in range(len(own)):
        found = other.find(own.names[node])
        if len(found) > 1:  # a formal name counts for more than another label's common name
            found = tuple(n for n in found if fold(other.names[n]) == fold(own.names[node]))
        if len(found) == 1:
            matches[node] = found[0]
    counts = Counter(matches.values())  # two labels of the user are never made one
    return {node: match for node, match in matches.items() if counts[match] == 1}


def _match_lineages(own: LabelTree, other: LabelTree) -> dict[int, int]:
    theirs = [other.ranks.index(rank) if rank in other.ranks else -1 for rank in own.ranks]
    matches = {}
    for node in range(len(own)):
        number = theirs[own.rank[node]]
        wanted = fold(own.names[node])
        found = [
            n
            for n in other.find(own.names[node])
            if other.rank[n] == number
            and fold(other.names[n]) == wanted
            and _compatible(own, node, other, n, theirs)
        ]
        if len(found) == 1:
            matches[node] = found[0]
    return matches


def _compatible(own: LabelTree, node: int, other: LabelTree, n: int, theirs: list[int]) -> bool:
    for mine, number in zip(own.ancestors[node], theirs, strict=True):
        if mine >= 0 and number >= 0:
            their = other.ancestors[n, number]
            if their >= 0 and fold(own.names[mine]) != fold(other.names[their]):
                return False
    return True
