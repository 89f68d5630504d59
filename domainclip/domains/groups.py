"""Groups of nodes at one rank, with a bucket of its own for each gap in a lineage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .labels import LabelTree


@dataclass(frozen=True)
class Groups:
    """Nodes put together by their ancestor at one rank; every node is in exactly one group."""

    rank: str
    codes: NDArray[np.int64]
    """Shape (n,): the group of each node."""
    names: tuple[str, ...]
    """Different for every group: a homonym carries its lineage."""
    nodes: NDArray[np.int32]
    """Shape (n_groups,): the node that a group is; -1 for a bucket of nodes without that rank."""

    def __len__(self) -> int:
        return len(self.names)


def group_nodes(tree: LabelTree, number: int, nodes: NDArray[np.int64]) -> Groups:
    """Group nodes by their ancestor at rank `number`, or by their nearest one above it.

    Args:
        tree: The tree of the nodes.
        number: Index of the rank in `tree.ranks`.
        nodes: Node ids, shape (n,).
    """
    size, keys = len(tree), group_keys(tree, number, nodes)
    taken = np.zeros(2 * size + 1, dtype=bool)
    taken[keys] = True
    codes = (np.cumsum(taken) - 1)[keys]
    groups = np.flatnonzero(taken)
    members = np.where(groups < size, groups, -1).astype(np.int32)
    return Groups(
        tree.ranks[number], codes, _names(tree, number, groups), np.ascontiguousarray(members)
    )


def group_keys(tree: LabelTree, number: int, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what tells the groups of rank `number` apart, shape (n,), ordered as they are.

    It is the ancestor at the rank, or for a bucket a number from `len(tree)` on, told by the
    nearest ancestor above.
    """
    above = np.full(len(nodes), -1, dtype=np.int64)
    for column in range(number):
        here = tree.ancestors[nodes, column]
        above = np.where(here >= 0, here, above)
    own = tree.ancestors[nodes, number].astype(np.int64)
    return np.where(own >= 0, own, len(tree) + 1 + above)  # buckets come after the rank's nodes


def _names(tree: LabelTree, number: int, groups: NDArray[np.int64]) -> tuple[str, ...]:
    size, rank = len(tree), tree.ranks[number]

    def say(group: int, told: Callable[[int], str]) -> str:
        if group < size:
            return told(group)
        return f"no {rank}, under {told(group - size - 1)}" if group > size else f"no {rank}"

    def with_lineage(node: int) -> str:
        key = tree.key(node)
        above = [name or f"no {tree.ranks[i]}" for i, name in enumerate(key[:-1])]
        return f"{key[-1]} ({' > '.join(above) or tree.ranks[tree.rank[node]]})"

    names = [say(group, lambda node: str(tree.names[node])) for group in groups.tolist()]
    twice = {name for name, count in Counter(names).items() if count > 1}
    if not twice:
        return tuple(names)
    taken: set[str] = set(names) - twice
    for i, group in enumerate(groups.tolist()):
        if names[i] not in twice:
            continue
        name = unnumbered = say(group, with_lineage)
        count = 1
        while name in taken:  # names that look like a lineage themselves
            count += 1
            name = f"{unnumbered} #{count}"
        taken.add(name)
        names[i] = name
    return tuple(names)
