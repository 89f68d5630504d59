"""What is told apart at each rank of the candidates, and how one of it is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from domainclip.domains.groups import Groups
from domainclip.errors import UsageError, suggest

from .candidates import Candidates
from .rollup import roll_up
from .scoring import top


class Ranks:
    """Groups of candidates at the ranks of their tree, or in bins.

    Args:
        candidates: The labels.
        bins: Label -> bin, of labels without a tree; the bins are then told apart.
    """

    def __init__(self, candidates: Candidates, bins: Mapping[str, str] | None = None) -> None:
        self.candidates = candidates
        self.bins = None if bins is None else _group_bins(bins)
        self._groups: dict[str, Groups] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The ranks of the candidates, coarsest first.

        Raises:
            UsageError: If they have none.
        """
        tree, nodes = self.candidates.tree, self.candidates.nodes
        if tree is None or nodes is None:
            raise UsageError("these labels have no ranks", "leave the rank out")
        return tree.ranks[: int(tree.rank[nodes].max()) + 1]

    def groups(self, rank: str | None) -> Groups | None:
        """Return the groups that are told apart at a rank; None where it is the labels themselves.

        Raises:
            UsageError: If the labels have no such rank.
        """
        if rank is None:
            return self.bins
        tree, nodes = self.candidates.tree, self.candidates.nodes
        if tree is None or nodes is None:
            raise UsageError(f"these labels have no ranks, so no {rank!r}", "leave the rank out")
        if rank not in tree.ranks:
            ranks = ", ".join(tree.ranks)
            raise UsageError(f"no rank {rank!r}; ranks: {ranks}", suggest(rank, tree.ranks))
        if rank not in self._groups:
            self._groups[rank] = tree.groups(rank, nodes)
        return self._groups[rank]

    def roll_up(self, labels: Tensor, rank: str | None) -> Tensor:
        """Return the probabilities of what is told apart at a rank, of those of all labels."""
        groups = self.groups(rank)
        return labels if groups is None else roll_up(labels, groups)

    def keep_best_line(self, labels: Tensor, rank: str | None) -> Tensor:
        """Return the probabilities of labels, 0 outside the best group of each coarser rank.

        From the coarsest rank on the best group is chosen, and then the best one within it.

        Args:
            labels: Probabilities of all labels, shape (m, n).
            rank: Only ranks above it count; None for all but the finest.
        """
        if self.candidates.tree is None:
            return labels
        above = self.names[: self.names.index(rank)] if rank in self.names else self.names
        inside = labels.clone()
        for coarser in above:
            groups = self.groups(coarser)
            assert groups is not None
            best = top(roll_up(inside, groups), 1)[1]
            codes = torch.from_numpy(groups.codes).to(labels.device)
            inside.mul_(codes[None, :] == best)
        return inside


def _group_bins(bins: Mapping[str, str]) -> Groups:
    empty = next((label for label, one in bins.items() if not str(one).strip()), None)
    if empty is not None:
        raise UsageError(f"the label {empty!r} has no bin", "give every label one")
    names = tuple(dict.fromkeys(bins.values()))
    number = {name: i for i, name in enumerate(names)}
    codes = np.array([number[one] for one in bins.values()], dtype=np.int64)
    return Groups("bin", codes, names, np.full(len(names), -1, dtype=np.int32))
