"""The label tree: every label with its lineage, its names, and integer-coded ancestors."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domainclip.errors import LabelError, suggest

from .contract import COMMON, FORMAL, LabelKey
from .darwin_core import RANKS, read_darwin_core
from .enrichment import Enriched, enrich_tree
from .groups import Groups, group_nodes
from .lineages import (
    COMMON_COLUMNS,
    SYNONYMS_COLUMN,
    Nodes,
    Origin,
    build_nodes,
    match_lineages,
)
from .names import SEPARATOR, NameIndex, clean, fold
from .readers import read_nested, read_table, write_table

__all__ = ["Enriched", "Groups", "LabelTree"]

SUGGEST_AMONG = 20_000
"""Names that are searched for a similar one; more would take seconds."""


class LabelTree:
    """Labels at fixed ranks, coarsest first; a label is told by its full lineage.

    Nodes are numbered rank by rank, parents before children, and in order of first appearance
    within a rank. Build one with `from_columns`, `from_csv`, `from_yaml` or `from_darwin_core`.

    Attributes:
        ranks: Names of the ranks, coarsest first.
        names: Formal name of each node, shape (n_nodes,).
        parent: Nearest present ancestor of each node, shape (n_nodes,); -1 for a root.
        rank: Index into `ranks` of each node, shape (n_nodes,).
        ancestors: Ancestor of each node at each rank, shape (n_nodes, n_ranks); the node itself at
            its own rank, -1 where a rank is missing.
        depth: Present nodes from root to node, shape (n_nodes,); 1 for a root.
        leaves: Nodes without children, shape (n_leaves,).
    """

    def __init__(self, ranks: Sequence[str], nodes: Nodes) -> None:
        self.ranks = tuple(ranks)
        self.names = nodes.names
        self.parent = nodes.parent
        self.rank = nodes.rank
        self._common = nodes.common
        self._synonyms = nodes.synonyms
        n = len(self.names)
        self.ancestors = np.full((n, len(self.ranks)), -1, dtype=np.int32)
        self.depth = np.ones(n, dtype=np.int8)
        for number in range(len(self.ranks)):
            here = np.flatnonzero(self.rank == number)
            below = here[self.parent[here] >= 0]
            self.ancestors[below] = self.ancestors[self.parent[below]]
            self.depth[below] = self.depth[self.parent[below]] + 1
            self.ancestors[here, number] = here
        is_leaf = np.ones(n, dtype=bool)
        is_leaf[self.parent[self.parent >= 0]] = False
        self.leaves = np.flatnonzero(is_leaf).astype(np.int32)
        for array in (self.names, self.parent, self.rank, self.ancestors, self.depth, self.leaves):
            array.flags.writeable = False

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Sequence[str | None]],
        ranks: Sequence[str] | None = None,
        *,
        common: Sequence[str | None] | None = None,
        synonyms: Sequence[str | Sequence[str] | None] | None = None,
        unique: bool = False,
    ) -> LabelTree:
        """Build a tree from one column of names a rank; a row's last name is its label.

        Args:
            columns: Names by column. Missing names are "" or None; a rank without a column is
                missing in all rows; columns that are no rank are left alone.
            ranks: Ranks, coarsest first; None for all columns but those of other names.
            common: Common name of each row's label; None for the column "common" or "common_name".
                Of several for one label the first is kept.
            synonyms: More names of each row's label, a sequence or text separated by "|"; None for
                the column "synonyms".
            unique: Refuse a label that two rows have, as in a list of labels.

        Raises:
            LabelError: If there are no rows, a row has no name (rows are named, counted from 0), or
                `unique` is broken.
        """
        return cls._build(columns, ranks, common, synonyms, unique, Origin())

    @classmethod
    def from_csv(
        cls, path: str | Path, ranks: Sequence[str] | None = None, *, unique: bool = False
    ) -> LabelTree:
        """Build a tree from a CSV or TSV file, as `to_csv` writes it; see `from_columns`."""
        return cls._build(read_table(path), ranks, None, None, unique, Origin(str(path), 2))

    @classmethod
    def from_yaml(cls, source: str | Path | Mapping[str, Any], ranks: Sequence[str]) -> LabelTree:
        """Build a tree from nested labels: a YAML file or a mapping, depth by depth one rank.

        A label is `name: {children}`, `name:` alone or an item of a list; `_common` and `_synonyms`
        inside it are its other names; an empty key skips a rank.

        Raises:
            LabelError: If a label occurs twice, or lies deeper than there are ranks.
        """
        origin = Origin("" if isinstance(source, Mapping) else str(source))
        return cls._build(read_nested(source, ranks), ranks, None, None, True, origin)

    @classmethod
    def from_darwin_core(cls, columns: Mapping[str, Sequence[str | None]]) -> LabelTree:
        """Build a tree from Darwin Core terms: one column a rank, or ids and the ids of parents.

        Raises:
            LabelError: If ids repeat, parents are unknown or go round in a circle, or a finer rank
                lies above a coarser one; it names the rows.
        """
        return cls._build(read_darwin_core(columns), RANKS, None, None, False, Origin())

    @classmethod
    def _build(
        cls,
        columns: Mapping[str, Sequence[Any]],
        ranks: Sequence[str] | None,
        common: Sequence[str | None] | None,
        synonyms: Sequence[Any] | None,
        unique: bool,
        origin: Origin,
    ) -> LabelTree:
        other = next((c for c in COMMON_COLUMNS if c in columns), None)
        if ranks is None:
            ranks = [name for name in columns if name not in (other, SYNONYMS_COLUMN)]
        _check_ranks(ranks)
        if common is None and other is not None:
            common = columns[other]
        if synonyms is None:
            synonyms = columns.get(SYNONYMS_COLUMN)
        return cls(
            ranks, build_nodes(columns, ranks, common, synonyms, unique=unique, origin=origin)
        )

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"LabelTree({len(self)} nodes, {len(self.leaves)} leaves, {' > '.join(self.ranks)})"

    def key(self, node: int) -> LabelKey:
        """Return the lineage of a node, "" where a rank is missing."""
        self._ids(node)
        line = self.ancestors[node, : self.rank[node] + 1].tolist()
        return tuple(self.names[a] if a >= 0 else "" for a in line)

    def path(self, node: int) -> tuple[str, ...]:
        """Return the present names from root to node."""
        return tuple(name for name in self.key(node) if name)

    def name(self, node: int, vocabulary: str = FORMAL) -> str | None:
        """Return the name of a node in a vocabulary, or None where it has none.

        Raises:
            LabelError: If there is no such vocabulary.
        """
        if vocabulary not in (FORMAL, COMMON):
            raise LabelError(f"no vocabulary {vocabulary!r}", f"there are {FORMAL} and {COMMON}")
        self._ids(node)
        name: str | None = (self.names if vocabulary == FORMAL else self._common)[node]
        return name

    def synonyms(self, node: int) -> tuple[str, ...]:
        """Return the further names of a node."""
        return self._synonyms.get(int(node), ())

    def node(self, key: LabelKey) -> int:
        """Return the node of a lineage.

        Raises:
            LabelError: If there is none.
        """
        if isinstance(key, str):
            raise LabelError(f"{key!r} is a name, not a lineage", "find() looks a name up")
        names = [clean(name) for name in key]
        node = -1
        for number, name in enumerate(names):
            if not name:
                continue
            known = number < len(self.ranks)
            child = self._child(node, number, name) if known else -1
            if child < 0:
                raise self._unknown(names, node, number)
            node = child
        if node < 0:
            raise LabelError("a lineage without any name", "it has one name at least")
        return node

    def nodes_of(self, columns: Mapping[str, Sequence[str | None]]) -> NDArray[np.int32]:
        """Return the node of each row, shape (n_rows,); -1 where the lineage is not in the tree.

        Args:
            columns: One column of names a rank, as for `from_columns`.
        """
        return match_lineages(columns, self.ranks, self.names, self.parent, self.rank)

    def find(self, name: str) -> tuple[int, ...]:
        """Return the nodes that a name means, in any vocabulary; case and "_" do not count."""
        wanted = fold(name)
        near = self._by_name.get(hash(wanted))
        return tuple(n for n in near if any(fold(x) == wanted for x in self.all_names(n)))

    def all_names(self, node: int) -> tuple[str, ...]:
        """Return the formal name, the common name if there is one, and the synonyms of a node."""
        common = self._common[node]
        return (self.names[node], *((common,) if common else ()), *self.synonyms(node))

    def children(self, node: int) -> NDArray[np.int32]:
        """Return the children of a node; the roots for -1."""
        order, start = self._children
        return order[start[node + 1] : start[node + 2]]

    def ambiguous(self) -> dict[str, tuple[int, ...]]:
        """Return formal names that nodes of different lineages share at one rank."""
        first: dict[tuple[int, str], int] = {}
        several: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        for node, pair_ in enumerate(zip(self.rank.tolist(), self.names, strict=True)):
            if first.setdefault(pair_, node) != node:
                several[pair_].append(node)
        found: defaultdict[str, list[int]] = defaultdict(list)
        for pair_, nodes in several.items():
            found[pair_[1]] += [first[pair_], *nodes]
        return {name: tuple(sorted(nodes)) for name, nodes in found.items()}

    def lowest_common_ancestor(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.int32]:
        """Return the deepest node that both lie at or under, -1 where there is none.

        Args:
            a: Node ids.
            b: Node ids that broadcast with `a`.
        """
        one, other = np.broadcast_arrays(self._ids(a), self._ids(b))
        lowest = np.full(one.shape, -1, dtype=np.int32)
        for column in self.ancestors.T:
            here = column[one]
            np.copyto(lowest, here, where=(here >= 0) & (here == column[other]))
        return lowest

    def distance(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.int32]:
        """Return the edges between nodes, over present nodes; roots hang together by one more node.

        Args:
            a: Node ids.
            b: Node ids that broadcast with `a`.
        """
        lowest = self.lowest_common_ancestor(a, b)
        depth = self.depth.astype(np.int32)
        shared = np.where(lowest >= 0, depth[lowest], 0)
        return np.asarray(depth[np.asarray(a)] + depth[np.asarray(b)] - 2 * shared, dtype=np.int32)

    def groups(self, rank: str, nodes: ArrayLike) -> Groups:
        """Group nodes by their ancestor at a rank.

        A node that has none there falls into a bucket with those under the same nearest ancestor
        above that rank: "no family, under Coleoptera".

        Args:
            rank: One of `ranks`.
            nodes: Node ids, shape (n,).

        Raises:
            LabelError: If there is no such rank or node.
        """
        if rank not in self.ranks:
            hint = suggest(rank, self.ranks) or f"there are {', '.join(self.ranks)}"
            raise LabelError(f"no rank {rank!r}", hint)
        return group_nodes(self, self.ranks.index(rank), self._ids(nodes).reshape(-1))

    def enrich(self, other: LabelTree) -> Enriched:
        """Return this tree with the other's names, and a flat one with the other's ranks.

        See `enrich_tree` for what counts as a match.
        """
        return enrich_tree(self, other)

    def digest(self) -> str:
        """Return the SHA-256 of ranks, lineages and names, whatever the order of the nodes."""
        parts: list[bytes] = []
        for node, parent in enumerate(self.parent.tolist()):
            own = (int(self.rank[node]), self.names[node], self._common[node] or "")
            text = json.dumps((*own, sorted(self.synonyms(node))))
            above = parts[parent] if parent >= 0 else b""
            parts.append(hashlib.sha256(above + text.encode()).digest())
        total = hashlib.sha256(json.dumps(list(self.ranks)).encode())
        for part in sorted(parts):
            total.update(part)
        return total.hexdigest()

    def to_columns(self) -> dict[str, list[str]]:
        """Return one row a node: its lineage, "common" and "synonyms"; `from_columns` undoes it."""
        columns = {}
        for number, rank in enumerate(self.ranks):
            line = self.ancestors[:, number]
            columns[rank] = np.where(line >= 0, self.names[line], "").tolist()
        columns[COMMON_COLUMNS[0]] = [name or "" for name in self._common]
        columns[SYNONYMS_COLUMN] = [SEPARATOR.join(self.synonyms(n)) for n in range(len(self))]
        return columns

    def to_csv(self, path: str | Path) -> None:
        """Write one row a node; `from_csv` gives the same tree with the same node ids."""
        write_table(path, self.to_columns())

    @cached_property
    def _by_name(self) -> NameIndex:
        nodes, hashes = [], []
        for node in range(len(self)):
            for name in self.all_names(node):
                nodes.append(node)
                hashes.append(hash(fold(name)))
        return NameIndex(hashes, nodes)

    @cached_property
    def _by_lineage(self) -> NameIndex:
        told = zip(self.parent.tolist(), self.rank.tolist(), self.names, strict=True)
        return NameIndex(map(hash, told), range(len(self)))

    @cached_property
    def _children(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        order = np.argsort(self.parent, kind="stable").astype(np.int32)
        return order, np.searchsorted(self.parent[order], np.arange(-1, len(self) + 1))

    def _ids(self, nodes: ArrayLike) -> NDArray[np.int64]:
        """Return node ids, none of which is the -1 that means "no node"."""
        ids = np.asarray(nodes, dtype=np.int64)
        if ids.size and not (ids.min() >= 0 and ids.max() < len(self)):
            raise LabelError(f"node {ids.min()} or {ids.max()} is not in 0 to {len(self) - 1}")
        return ids

    def _child(self, parent: int, number: int, name: str) -> int:
        for node in self._by_lineage.get(hash((parent, number, name))):
            found = int(self.parent[node]), int(self.rank[node]), self.names[node]
            if found == (parent, number, name):
                return node
        return -1

    def _unknown(self, names: Sequence[str], parent: int, number: int) -> LabelError:
        lineage = " > ".join(name or "-" for name in names)
        if number >= len(self.ranks):
            ranks = ", ".join(self.ranks)
            return LabelError(f"no label {lineage}: it has {len(names)} ranks", f"ranks: {ranks}")
        same = self.find(names[number])
        if same:
            hint = f"did you mean {' > '.join(name or '-' for name in self.key(same[0]))}?"
        else:
            nearby = self.children(parent) if parent >= 0 else np.arange(len(self))
            hint = suggest(names[number], self.names[nearby[:SUGGEST_AMONG]])
        return LabelError(
            f"no label {lineage}: the {self.ranks[number]} {names[number]!r} is unknown", hint
        )


def _check_ranks(ranks: Sequence[str]) -> None:
    reserved = {*COMMON_COLUMNS, SYNONYMS_COLUMN}
    bad = isinstance(ranks, str) or not ranks or len(set(ranks)) < len(ranks) or len(ranks) > 100
    if bad or any(
        r != clean(r) or not r or r in reserved or set(r) & set(',;\t\r\n"') for r in ranks
    ):
        raise LabelError(
            f"ranks have to be a list of different names without separators, not {ranks!r}",
            f"name them coarsest first; {', '.join(sorted(reserved))} are no ranks",
        )
