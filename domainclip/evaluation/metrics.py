"""How right the predictions are at every rank of a label tree, and how sure one can be of that.

Definitions: `top1` and `top5` count a picture as right when its label is among the 1 or 5 most
probable ones, ties going to the earlier candidate. `mean_per_class` is the mean of the recalls of
the labels that occur, which scikit-learn calls balanced accuracy. A coarser rank is scored on the
summed probabilities of the labels below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from domainclip.errors import UsageError
from domainclip.inference.rollup import roll_up

from .bootstrap import accuracies, clusters_of, resample

if TYPE_CHECKING:
    from domainclip.domains.labels import Groups, LabelTree


@dataclass(frozen=True)
class ScoreRow:
    """One number of a results table, with its 95% interval.

    `low` and `high` are None where no interval can be had: no resampling, or a single group.
    """

    split: str
    candidates: str
    rank: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    """Pictures behind the number."""
    left_out: int = 0
    """Pictures not scored at this rank: labelled above it, or not among the candidates."""

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Return the row for JSON or a table; never NaN."""
        return asdict(self)


@dataclass(frozen=True)
class Confusion:
    """How often each value of a rank was taken for each other, in the order of the tree."""

    rank: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    """Shape (values, values): rows are the truth, columns the prediction."""
    blocks: tuple[tuple[str, int, int], ...]
    """Runs of values that share a value at a coarser rank: (name, start, stop)."""


@dataclass(frozen=True)
class Predictions:
    """What was predicted for each picture, in the order the pictures came."""

    truth: NDArray[np.int64]
    """Node of the true label, shape (n,)."""
    nodes: NDArray[np.int64]
    """The most probable candidates, best first, shape (n, up to 5)."""
    scores: NDArray[np.float32]
    """Their probabilities, same shape."""
    right: NDArray[np.bool_]
    """Whether the first candidate is the true label or lies below it, shape (n,)."""

    def best_and_worst(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the surest right and of the surest wrong predictions.

        At most one right prediction per label, so that one easy label does not fill the page.
        """
        order = np.argsort(-self.scores[:, 0], kind="stable")
        right, wrong = order[self.right[order]], order[~self.right[order]]
        _, first = np.unique(self.truth[right], return_index=True)
        return right[np.sort(first)][:count], wrong[:count]


class Tally:
    """Counts predictions rank by rank; keeps a few numbers per picture, never its probabilities.

    Args:
        tree: The label tree.
        candidates: Nodes that could be predicted, shape (C,), in the order of the probabilities.

    Raises:
        UsageError: If there is no candidate, or one comes twice.
    """

    def __init__(self, tree: LabelTree, candidates: ArrayLike) -> None:
        self.tree = tree
        self.candidates = np.asarray(candidates, dtype=np.int64)
        if self.candidates.ndim != 1 or len(self.candidates) == 0:
            raise UsageError("no label to choose from", "give at least one candidate label")
        if len(np.unique(self.candidates)) != len(self.candidates):
            raise UsageError("a candidate label is given twice", "give each label once")
        self._ranks: list[tuple[int, Groups]] = []
        for index, rank in enumerate(tree.ranks):
            groups = tree.groups(rank, self.candidates)
            if len(groups.names) > 1:
                self._ranks.append((index, groups))
        self._codes: dict[int, NDArray[np.int64]] = {}
        self._truth: list[NDArray[np.int64]] = []
        self._nodes: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []
        # One column per rank: value of the truth (-1: not scored), its place, the predicted value.
        self._true: list[NDArray[np.int64]] = []
        self._place: list[NDArray[np.int64]] = []
        self._said: list[NDArray[np.int64]] = []

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks at which there is something to tell apart, coarsest first."""
        return tuple(self.tree.ranks[index] for index, _ in self._ranks)

    def add(self, probabilities: Tensor, truth: ArrayLike) -> None:
        """Count a batch.

        Args:
            probabilities: Shape (B, C); every row sums to one.
            truth: Node of the true label of each picture, shape (B,).

        Raises:
            UsageError: If the shapes do not fit, or the rows are not probabilities.
        """
        nodes = np.asarray(truth, dtype=np.int64)
        if probabilities.shape != (len(nodes), len(self.candidates)):
            raise UsageError(
                f"scores of shape {tuple(probabilities.shape)} for {len(nodes)} pictures and "
                f"{len(self.candidates)} candidate labels"
            )
        if len(nodes) == 0:
            return
        p = probabilities.detach().float()
        if not bool(((p.sum(-1) - 1).abs() < 1e-2).all()):  # NaN fails this as well
            raise UsageError(
                "scores are not probabilities: a row does not sum to one",
                "apply softmax to logits first; scores of NaN come from a model that diverged",
            )
        best = p.topk(min(5, p.shape[1]), dim=-1)
        self._truth.append(nodes)
        self._nodes.append(self.candidates[best.indices.cpu().numpy()])
        self._scores.append(best.values.cpu().numpy())
        values = self._values_of(nodes)
        place, said = np.empty_like(values), np.empty_like(values)
        for column, (_, groups) in enumerate(self._ranks):
            rolled = roll_up(p, groups)
            true = torch.from_numpy(values[:, column].copy()).to(rolled.device)
            place[:, column] = _places(rolled, true.clamp(min=0)).cpu().numpy()
            said[:, column] = rolled.argmax(-1).cpu().numpy()
        self._true.append(values)
        self._place.append(place)
        self._said.append(said)

    def rows(
        self,
        *,
        split: str,
        candidates_name: str,
        groups: Sequence[str] | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> list[ScoreRow]:
        """Return the results table of everything counted so far.

        Args:
            split: Name of the split, for the table.
            candidates_name: Name of the set of candidates, for the table.
            groups: The patient, slide or specimen of each picture: whole groups are resampled.
                "" is a group of its own.
            bootstrap: Resamples behind the 95% percentile intervals; 0 for none.
            seed: Seeds the resampling.

        Raises:
            UsageError: If there are not as many groups as pictures.
        """
        total = sum(map(len, self._truth))
        if groups is not None and len(groups) != total:
            raise UsageError(f"{len(groups)} groups for {total} pictures")
        if total == 0:
            return []
        true, place = np.concatenate(self._true), np.concatenate(self._place)
        columns = [c for c in range(true.shape[1]) if (true[:, c] >= 0).any()]
        wanted = [(c, len(self._ranks[c][1].names) > 5) for c in columns]
        exact = accuracies(true, place, wanted, torch.ones(total, 1, dtype=torch.float64))[:, :, 0]
        clusters = clusters_of(groups, total)
        low = high = None
        if bootstrap > 0 and clusters.max() > 0:
            resampled = resample(true, place, wanted, clusters, bootstrap, seed)
            low, high = np.nanpercentile(resampled, [2.5, 97.5], axis=-1)
        rows = []
        for i, (c, five) in enumerate(wanted):
            n = int((true[:, c] >= 0).sum())
            for m, metric in enumerate(("top1", "top5", "mean_per_class")):
                if metric == "top5" and not five:
                    continue
                rows.append(
                    ScoreRow(
                        split=split,
                        candidates=candidates_name,
                        rank=self.ranks[c],
                        metric=metric,
                        value=float(exact[i, m]),
                        low=None if low is None else float(low[i, m]),
                        high=None if high is None else float(high[i, m]),
                        n=n,
                        left_out=total - n,
                    )
                )
        return rows

    def confusion(self, rank: str) -> Confusion:
        """Return how often each value of a rank was taken for each other.

        Raises:
            UsageError: If the candidates have no two values at this rank.
        """
        if rank not in self.ranks:
            raise UsageError(f"nothing to tell apart at {rank!r}; ranks: {', '.join(self.ranks)}")
        column = self.ranks.index(rank)
        index, groups = self._ranks[column]
        size = len(groups.names)
        _, first = np.unique(groups.codes, return_index=True)
        nodes = self.candidates[first]
        order = np.array(sorted(range(size), key=lambda k: self.tree.path(int(nodes[k]))))
        counts = np.zeros((size, size), dtype=np.int64)
        if self._true:
            true, said = np.concatenate(self._true), np.concatenate(self._said)
            scored = true[:, column] >= 0
            np.add.at(counts, (true[scored, column], said[scored, column]), 1)
        return Confusion(
            rank=rank,
            names=tuple(groups.names[k] for k in order),
            counts=counts[np.ix_(order, order)],
            blocks=_blocks(self.tree, index, nodes[order]),
        )

    def predictions(self) -> Predictions:
        """Return what was predicted for each picture, in the order the pictures came."""
        if not self._truth:
            empty = np.zeros(0, dtype=np.int64)
            none = np.zeros((0, 1))
            return Predictions(empty, none.astype(np.int64), none.astype(np.float32), empty > 0)
        truth, nodes = np.concatenate(self._truth), np.concatenate(self._nodes)
        own = np.asarray(self.tree.rank)[truth]
        right = np.asarray(self.tree.ancestors)[nodes[:, 0], own] == truth
        return Predictions(truth, nodes, np.concatenate(self._scores), right)

    def error_distance(self) -> float | None:
        """Return the mean tree distance between truth and prediction over the wrong predictions.

        Two labels of one parent are 2 apart; None where nothing is wrong.
        """
        found = self.predictions()
        wrong = ~found.right
        if not wrong.any():
            return None
        return float(np.mean(self.tree.distance(found.truth[wrong], found.nodes[wrong, 0])))

    def _values_of(self, truth: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the value of each true label at each rank, -1 where it cannot be scored."""
        unique, inverse = np.unique(truth, return_inverse=True)
        new = np.array(
            [node for node in unique.tolist() if node not in self._codes], dtype=np.int64
        )
        if len(new):
            codes = np.full((len(new), len(self._ranks)), -1, dtype=np.int64)
            own = np.asarray(self.tree.rank)[new]
            for column, (index, groups) in enumerate(self._ranks):
                _, first = np.unique(groups.codes, return_index=True)
                both = np.concatenate([self.candidates[first], new])
                joint = np.asarray(self.tree.groups(self.tree.ranks[index], both).codes)
                value = {int(j): k for k, j in enumerate(joint[: len(first)])}
                found = [value.get(int(j), -1) for j in joint[len(first) :]]
                codes[:, column] = np.where(own >= index, found, -1)  # -1: labelled above the rank
            self._codes.update(zip(new.tolist(), codes, strict=True))
        if not self._ranks:
            return np.zeros((len(truth), 0), dtype=np.int64)
        return np.stack([self._codes[node] for node in unique.tolist()])[inverse]


def evaluate(
    probabilities: Tensor,
    truth: ArrayLike,
    candidates: ArrayLike,
    tree: LabelTree,
    *,
    split: str,
    candidates_name: str,
    groups: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[ScoreRow]:
    """Return the results table of one set of predictions; see `Tally` to count batch by batch.

    Args:
        probabilities: Shape (N, C); every row sums to one.
        truth: Node of the true label of each picture, shape (N,).
        candidates: Nodes that could be predicted, shape (C,).
        tree: The label tree.
        split: Name of the split, for the table.
        candidates_name: Name of the set of candidates, for the table.
        groups: The patient, slide or specimen of each picture, for resampling whole groups.
        bootstrap: Resamples behind the 95% percentile intervals; 0 for none.
        seed: Seeds the resampling.

    Raises:
        UsageError: If the shapes do not fit, or the rows are not probabilities.
    """
    tally = Tally(tree, candidates)
    tally.add(probabilities, truth)
    return tally.rows(
        split=split, candidates_name=candidates_name, groups=groups, bootstrap=bootstrap, seed=seed
    )


def _places(scores: Tensor, true: Tensor) -> Tensor:
    """Return how many values come before the true one, shape (B,); ties go to the earlier value."""
    own = scores.gather(-1, true[:, None])
    earlier = torch.arange(scores.shape[-1], device=scores.device) < true[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(-1)


def _blocks(
    tree: LabelTree, index: int, nodes: NDArray[np.int64]
) -> tuple[tuple[str, int, int], ...]:
    """Return the runs of nodes that share a value at a coarser rank.

    The finest rank of at most 12 values that are half as many as the nodes, so that they can be
    read; else the coarsest that tells anything apart.
    """
    grouped = [tree.groups(tree.ranks[coarser], nodes) for coarser in range(index)]
    useful = [groups for groups in grouped if 1 < len(groups.names) < len(nodes)]
    if not useful:
        return ()
    legible = [g for g in useful if len(g.names) <= min(12, len(nodes) / 2)]
    groups = legible[-1] if legible else useful[0]
    codes = np.asarray(groups.codes)
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    stops = np.r_[starts[1:], len(codes)]
    return tuple(
        (groups.names[codes[a]], int(a), int(b)) for a, b in zip(starts, stops, strict=True)
    )
