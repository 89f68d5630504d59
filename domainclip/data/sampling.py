"""Which pictures each training step takes: evenly, evened out over labels, or with sisters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from domainclip.domains.labels import LabelTree
from domainclip.errors import LabelError, UsageError

GROUP = 16
"""Pictures of one parent that come together: enough for each of its labels to meet the others."""


class StepSampler(Sampler[tuple[int, NDArray[np.int64]]]):
    """Chooses the pictures of each training step; step k depends on the seed and k alone.

    Epochs of n draws follow one another without end, each ordered anew, and are cut into batches;
    so every picture comes as often as it should, a set may be smaller than a batch, and a run that
    is taken up at step k goes on exactly as if it had never stopped.

    Args:
        n: Number of pictures.
        batch_size: Pictures per step.
        seed: Seed of the order.
        steps: Number of the step to end before.
        start: Number of the first step to give.
        often: How often each picture is drawn in an epoch on average, shape (n,), n in all; an
            epoch draws it so often, rounded down or up. None for once each.
        labels: Label of each picture with the parent it shares with others, shape (n, 2), for
            `sisters`; the parent is -1 where it has none.
        sisters: Share of each batch that comes in groups of pictures of one parent.
        replay: Chooses pictures of a second set for each step, besides; their indices begin at n.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        steps: int,
        start: int = 0,
        *,
        often: NDArray[np.float64] | None = None,
        labels: NDArray[np.int64] | None = None,
        sisters: float = 0.0,
        replay: StepSampler | None = None,
    ) -> None:
        if n < 1:
            raise ValueError("there is no picture to choose from")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.steps, self.start = steps, start
        self.often, self.labels, self.sisters, self.replay = often, labels, sisters, replay

    def __len__(self) -> int:
        """Return the number of steps that are left."""
        return max(0, self.steps - self.start)

    @property
    def whole_size(self) -> int:
        """Pictures per step, those of the replay included."""
        return self.batch_size + (self.replay.batch_size if self.replay else 0)

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield (step, indices)."""
        for step in range(self.start, self.steps):
            yield step, self.batch(step)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the indices of one step, shape (whole_size,)."""
        first, parts, left = step * self.batch_size, [], self.batch_size
        while left:
            epoch, at = divmod(first, self.n)
            parts.append(self._order(epoch)[at : at + left])
            first, left = first + len(parts[-1]), left - len(parts[-1])
        if self.replay is None:
            return np.concatenate(parts)
        # mixed, so that each process's share of the batch holds both
        both = np.concatenate([*parts, self.n + self.replay.batch(step)])
        return np.random.default_rng([self.seed, step, 1]).permutation(both)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(self.n)
            if self.often is not None:
                order = rng.permutation(np.repeat(order, _draw_counts(self.often[order], rng)))
            if self.sisters and self.labels is not None:
                at = -epoch * self.n % self.batch_size  # where the first whole batch begins
                edges = np.unique([0, *range(at, self.n, self.batch_size), self.n])
                size = _group_size(self.sisters, self.batch_size)
                order = _gather(order, self.labels[order], edges, self.sisters, size, rng)
            self._permutation = order
        return self._permutation


def even_out(groups: NDArray[np.int64], at: int | None = None) -> NDArray[np.float64]:
    """Return how often to draw each picture in an epoch so that no group takes too much of it.

    A picture of a group of c pictures is kept with probability t / max(c, t), as MetaCLIP does with
    the entries of its list (arXiv:2309.16671, section 3.3); the epoch keeps its length.

    Args:
        groups: Group of each picture, shape (n,).
        at: The count t from which on a group is thinned out; None for the median count.

    Returns:
        Average draws, shape (n,), n in all.
    """
    codes, counts = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    limit = float(np.median(counts)) if at is None else float(at)
    kept = limit / np.maximum(counts, limit)
    chance = kept[codes]
    return np.asarray(chance * (len(groups) / chance.sum()), dtype=np.float64)


def group_for_balance(tree: LabelTree, nodes: NDArray[np.int64], by: str) -> NDArray[np.int64]:
    """Return the group of each picture that `data.balance` evens out, shape (n,).

    Args:
        tree: The tree of the labels.
        nodes: Label node of each picture, shape (n,).
        by: `label`, or a rank of the tree.

    Raises:
        UsageError: If there is no such rank.
    """
    if by == "label":
        return nodes
    try:
        return tree.groups(by, nodes).codes
    except LabelError as error:
        known = ", ".join(("label", *tree.ranks))
        raise UsageError(f"data.balance: {error.message}; it can be {known}", error.hint) from error


def find_parents(tree: LabelTree, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nearest ancestor of each label that other labels among them share.

    Args:
        tree: The tree of the labels.
        nodes: Label node of each picture, shape (n,).

    Returns:
        Ancestor nodes, shape (n,); -1 for a label without one.
    """
    labels, codes = np.unique(nodes, return_inverse=True)
    parents = np.full(len(labels), -1, dtype=np.int64)
    for column in range(len(tree.ranks)):  # coarsest first: finer ones take their place
        here = tree.ancestors[labels, column].astype(np.int64)
        found, back, counts = np.unique(here, return_inverse=True, return_counts=True)
        shared = (counts[back] > 1) & (found[back] >= 0) & (here != labels)
        parents[shared] = here[shared]
    return parents[codes]


def say_sisters(labels: NDArray[np.int64], share: float, batch_size: int) -> str:
    """Say which share of the pictures can come with sisters, where that many are wanted.

    Args:
        labels: Label and parent of each picture, shape (n, 2).
        share: The share of a batch that is wanted.
        batch_size: Pictures per step.
    """
    can = _cut_groups(labels, _group_size(share, batch_size)).size / len(labels)
    said = f"data.sisters: {can:.0%} of the pictures can come in groups of sister labels"
    return said if can >= share else f"{said}, fewer than the {share:.0%} that are wanted"


def _group_size(share: float, batch_size: int) -> int:
    return max(2, min(GROUP, round(share * batch_size)))


def _draw_counts(often: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw how often each comes, rounded down or up: systematic sampling, one seeded start."""
    upto = np.cumsum(often)
    upto *= len(often) / upto[-1]
    upto[-1] = len(often)  # exactly
    marks = np.ceil(upto - rng.random()).astype(np.int64)
    return np.diff(marks, prepend=0)


def _gather(
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    edges: NDArray[np.int64],
    share: float,
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Reorder an epoch so that a share of each batch comes in groups of sister labels.

    Args:
        order: The pictures of the epoch in random order, shape (n,).
        labels: Label and parent of each, shape (n, 2).
        edges: Where batches begin in the epoch, and its end.
        share: Share of a batch that groups make up.
        size: Pictures of a group.
        rng: Draws which groups come where.
    """
    groups = rng.permutation(_cut_groups(labels, size))
    lengths = np.diff(edges)
    wanted = np.minimum(np.rint(share * lengths / size), lengths // size).astype(np.int64)
    places = rng.permutation(np.repeat(np.arange(len(lengths)), wanted))[: len(groups)]
    groups = groups[: len(places)]
    batch = np.full(len(order), -1, dtype=np.int64)
    batch[groups] = places[:, None]
    left = lengths - size * np.bincount(places, minlength=len(lengths))
    batch[batch < 0] = np.repeat(np.arange(len(lengths)), left)[rng.permutation(left.sum())]
    return order[np.lexsort((rng.random(len(order)), batch))]


def _cut_groups(labels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return positions of pictures in groups of one parent and several labels, shape (k, size)."""
    own, parents = labels.T
    # each label is spread evenly over its parent's pictures, so that a group holds several
    spread = np.empty(len(own))
    by_label = np.argsort(own, kind="stable")
    place, count = _count_off(own[by_label])
    spread[by_label] = (place + 0.5) / count
    by_parent = np.lexsort((spread, parents))
    place, count = _count_off(parents[by_parent])
    whole = (place < count // size * size) & (parents[by_parent] >= 0)
    groups: NDArray[np.int64] = by_parent[whole].reshape(-1, size)
    several = own[groups].min(axis=1) < own[groups].max(axis=1)
    return np.asarray(groups[several], dtype=np.int64)


def _count_off(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return of each of the sorted keys its place among its equals, and how many these are."""
    _, first, codes, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    return np.arange(len(keys)) - first[codes], counts[codes]
