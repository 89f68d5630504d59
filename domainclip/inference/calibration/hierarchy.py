"""Candidates as nested groups, coarse to fine, and sums of their scores over any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from domainclip.domains.groups import group_keys
from domainclip.domains.labels import LabelTree
from domainclip.errors import LabelError
from domainclip.inference.candidates import Candidates

LABEL = "label"
"""What the finest level is called where no rank tells all labels apart."""
FLOOR = -80.0
"""Scores further below the best one than this are lifted to it: exp of it is 2e-35, which single
precision still holds, so that sums within a group of improbable labels stay above 0."""


@dataclass(frozen=True)
class Level:
    """A partition of the candidates that lies within the one before it."""

    name: str
    parents: Tensor
    """Shape (n_groups,): the group of the level before that each group lies in."""
    sizes: Tensor
    """Shape (n_groups,): candidates in each group."""

    def __len__(self) -> int:
        return len(self.parents)


@dataclass(frozen=True)
class Rank:
    """What is told apart at a rank: groups of one level, in the order of `LabelTree.groups`."""

    name: str
    level: int
    """Index of the level; -1 where all candidates are in one group."""
    places: Tensor
    """Shape (n_groups,): the group of the level that each group is."""
    members: NDArray[np.int64]
    """Shape (n_groups,), in the order of the level: the node of each group, -1 for a bucket."""

    def __len__(self) -> int:
        return len(self.members)


class Hierarchy:
    """The groups of candidates at every rank of their tree.

    Ranks that tell the same apart are one level; the last level is the candidates themselves, in
    their order. Without a tree that is the only level, and the only rank.

    Args:
        tree: The tree of the labels, or None.
        nodes: The candidates' nodes, shape (n,); without a tree, any numbers that name them.

    Attributes:
        levels: Partitions, coarsest first; the single group of all candidates is none of them.
        ranks: Ranks of the tree down to the finest one that a candidate has.

    Raises:
        LabelError: If there is no candidate, or one comes twice.
    """

    def __init__(self, tree: LabelTree | None, nodes: ArrayLike) -> None:
        self.tree = tree
        self.nodes = np.asarray(nodes, dtype=np.int64).reshape(-1)
        if not len(self.nodes):
            raise LabelError("no label to choose from", "give at least one")
        if len(np.unique(self.nodes)) < len(self.nodes):
            raise LabelError("a label to choose from comes twice", "give each label once")
        self._keys: list[NDArray[np.int64]] = []
        levels: list[Level] = []
        ranks: list[Rank] = []
        size, above = len(self.nodes), np.zeros(len(self.nodes), dtype=np.int64)
        names = tree.ranks[: int(tree.rank[self.nodes].max()) + 1] if tree is not None else ()
        for number, name in enumerate(names):
            assert tree is not None
            keys, codes = np.unique(group_keys(tree, number, self.nodes), return_inverse=True)
            count = len(keys)
            same = count == (len(levels[-1]) if levels else 1)
            if not same:
                # The finest partition is the candidates themselves, in their own order.
                finest = np.arange(size) if count == size else codes
                levels.append(_make_level(name, finest, above))
                above = finest
            places = np.zeros(count, dtype=np.int64)
            places[codes] = above
            members = np.empty_like(keys)
            members[places] = np.where(keys < len(tree or ()), keys, -1)
            ranks.append(Rank(name, len(levels) - 1, torch.from_numpy(places), members))
            self._keys.append(keys)
        if not levels:  # no tree, or a single candidate
            levels.append(_make_level(LABEL, np.arange(size), above))
        if tree is None:
            ranks.append(Rank(LABEL, 0, torch.arange(size), self.nodes))
        self.levels, self.ranks = tuple(levels), tuple(ranks)

    @classmethod
    def of(cls, candidates: Candidates) -> Hierarchy:
        """Return the hierarchy of what a classifier chooses from."""
        if candidates.tree is None or candidates.nodes is None:
            return cls(None, np.arange(len(candidates)))
        return cls(candidates.tree, candidates.nodes)

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.nodes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the levels."""
        return tuple(level.name for level in self.levels)

    def locate(self, nodes: ArrayLike) -> NDArray[np.int64]:
        """Return the group of each node at each level, shape (n, n_levels); -1 where it has none.

        A node has no group where the candidates have nothing of its kind, nor at ranks finer than
        its own, unless it is a candidate itself.

        Args:
            nodes: Any nodes of the tree, shape (n,).
        """
        wanted = np.asarray(nodes, dtype=np.int64).reshape(-1)
        found = np.full((len(wanted), len(self.levels)), -1, dtype=np.int64)
        if self.tree is None:
            found[:, 0] = _match(self.nodes, np.arange(len(self)), wanted)
            return found
        itself = np.isin(wanted, self.nodes)
        for number, (rank, keys) in enumerate(zip(self.ranks, self._keys, strict=True)):
            # Ranks that share a level: the coarsest stands for it, and the finest for the labels.
            last = rank.level == len(self.levels) - 1
            if rank.level >= 0 and (last or self.levels[rank.level].name == rank.name):
                fine = itself | (self.tree.rank[wanted] >= number)
                group = _match(keys, rank.places.numpy(), group_keys(self.tree, number, wanted))
                found[:, rank.level] = np.where(fine, group, -1)
        return found

    def judge(self, answers: ArrayLike, truth: ArrayLike) -> NDArray[np.int8]:
        """Return 1 where an answer is the true label or lies above it, 0 where it does not.

        -1 where nobody knows: the truth is known less finely than the answer, or there is none.

        Args:
            answers: Nodes, -1 for no answer; of a shape that broadcasts with `truth`.
            truth: Nodes.
        """
        said, true = np.broadcast_arrays(np.asarray(answers), np.asarray(truth))
        if self.tree is None:
            return np.where(said < 0, -1, said == true).astype(np.int8)
        line, rank = self.tree.ancestors, self.tree.rank
        right = line[true, rank[said]] == said
        open_ = (line[said, rank[true]] == true) & ~right
        return np.where((said < 0) | open_, -1, right).astype(np.int8)

    def add_up(self, logits: Tensor) -> list[Tensor]:
        """Return the log of the sum of exp of the candidates in each group, by level.

        Args:
            logits: Shape (m, n), the best one of each row 0; those below `FLOOR` are lifted to it
                in place.

        Returns:
            Shape (m, n_groups) for each level, coarsest first; the last is `logits`.
        """
        sums = [logits.clamp_(min=FLOOR)]
        for level, coarser in zip(self.levels[:0:-1], self.levels[-2::-1], strict=True):
            sums.append(add_groups(sums[-1].exp(), level.parents, len(coarser)).log_())
        return sums[::-1]

    def probabilities(self, logits: Tensor) -> list[Tensor]:
        """Return the softmax of logits, shape (m, n), summed up to each level, coarsest first."""
        logits = logits.float()
        sums = [(logits - logits.amax(dim=-1, keepdim=True)).exp_()]
        for level, coarser in zip(self.levels[:0:-1], self.levels[-2::-1], strict=True):
            sums.append(add_groups(sums[-1], level.parents, len(coarser)))
        total = sums[-1].sum(dim=-1, keepdim=True)  # over few, so that it is exact for a million
        return [part.div_(total) for part in sums[::-1]]

    def find_best(self, by_level: Sequence[Tensor]) -> tuple[Tensor, NDArray[np.int64]]:
        """Return the most probable node of each rank, and how probable it is.

        Buckets are no answer; of equal nodes the first one is.

        Returns:
            Probabilities, shape (m, n_ranks), and nodes, same shape; -1 and 0 where a rank has no
            named group.
        """
        values, nodes = [], []
        for rank in self.ranks:
            if rank.level < 0:
                found = by_level[0].new_ones(len(by_level[0]), 1)
            else:
                found = by_level[rank.level]
            if (rank.members < 0).any():
                named = torch.from_numpy(rank.members >= 0).to(found.device)
                found = torch.where(named, found, 0.0)
            best, place = found.max(dim=-1)  # of equal ones the first
            values.append(best)
            own = rank.members[place.cpu().numpy()]
            nodes.append(np.where(best.cpu().numpy() > 0, own, -1))
        return torch.stack(values, dim=-1), np.stack(nodes, axis=-1)


def add_groups(values: Tensor, codes: Tensor, count: int) -> Tensor:
    """Sum columns that share a group.

    Args:
        values: Shape (m, n).
        codes: The group of each column, shape (n,).
        count: How many groups there are.
    """
    sums = values.new_zeros(len(values), count)
    return sums.index_add_(-1, codes.to(values.device), values)


def _match(
    keys: NDArray[np.int64], values: NDArray[np.int64], asked: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the value of each key that is asked for, -1 where there is none."""
    order = np.argsort(keys, kind="stable")
    at = order[np.searchsorted(keys, asked, sorter=order).clip(max=len(keys) - 1)]
    return np.where(keys[at] == asked, values[at], -1)


def _make_level(name: str, codes: NDArray[np.int64], above: NDArray[np.int64]) -> Level:
    sizes = np.bincount(codes)
    parents = np.zeros(len(sizes), dtype=np.int64)
    parents[codes] = above
    return Level(name, torch.from_numpy(parents), torch.from_numpy(sizes))
