"""Fits a calibration to pictures whose labels are known.

Temperatures are fitted to all pictures. What is fitted and measured after them is fitted to
probabilities that each half of the pictures gets from the other half's temperatures, so that no
picture helped with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from domainclip.errors import DataError

from .backoff import LEVELS, Ladder, fit_backoff
from .conformal import ERRORS, Conformal, find_sets, find_thresholds
from .hierarchy import Hierarchy
from .rejection import RATES, fit_rejection
from .reliability import Reliability, find_floor, measure_reliability
from .store import Calibration, Fitted, RankFigures
from .temperature import Batches, Choices, Temperatures

LEAST = 50
"""Pictures below which nothing is fitted."""


Scale = Callable[[Tensor, NDArray[np.int64]], Tensor]
"""Turns logits, shape (m, n), of the pictures with these numbers into the ones that count."""


@dataclass(frozen=True)
class Seen:
    """What is kept of n pictures: enough to fit and to measure, and nothing for every label."""

    ranks: tuple[str, ...]
    """The ranks that tell labels apart."""
    ladder: Ladder
    """The best answer of each picture at each of them."""
    true: NDArray[np.float32]
    """Probability of what is true there, shape (n, n_ranks); -1 where it is not known."""
    best: NDArray[np.float32]
    """Best logit, shape (n,)."""
    held_out: NDArray[np.float32]
    """Best logit of a label that is not the true one, shape (n,); nan where that is not known."""

    def answers(self, number: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which answers at a rank are right, where that is known, and how probable."""
        right, said = self.ladder.right[:, number], self.ladder.probabilities[:, number]
        return right[right >= 0] == 1, said[right >= 0]

    def measure(self, number: int) -> Reliability:
        """Return the reliability at a rank, of the answers of which it is known."""
        right, said = self.answers(number)
        return measure_reliability(said, right)


@dataclass(frozen=True)
class Outcome:
    """A calibration with how honest probabilities were before and after it, by rank."""

    calibration: Calibration
    before: dict[str, Reliability]
    after: dict[str, Reliability]


def look(
    hierarchy: Hierarchy, batches: Batches, truth: ArrayLike, scale: Scale | None = None
) -> Seen:
    """Look at the logits of pictures whose labels are known.

    Args:
        hierarchy: The labels to choose from.
        batches: The logits of n pictures.
        truth: Node of each picture, shape (n,).
        scale: What calibrates them; None for the softmax as it is.
    """
    nodes = np.asarray(truth, dtype=np.int64)
    located = hierarchy.locate(nodes)
    told = tell_apart(hierarchy)
    parts: list[tuple[NDArray[np.float32], ...]] = []
    answers: list[NDArray[np.int64]] = []
    start = 0
    for logits in batches():
        rows = np.arange(start, start + len(logits))
        own = torch.from_numpy(located[rows]).to(logits.device)
        parted = logits.float().scatter(1, own[:, -1:].clamp(min=0), -torch.inf)
        held_out = parted.amax(dim=-1).masked_fill(own[:, -1] < 0, torch.nan)
        levels = hierarchy.probabilities(logits if scale is None else scale(logits, rows))
        values, best = hierarchy.find_best(levels)
        true = [_true_at(levels, own, hierarchy.ranks[number].level) for number in told]
        kept = (values[:, told], torch.stack(true, dim=-1), logits.float().amax(dim=-1), held_out)
        parts.append(tuple(part.cpu().numpy() for part in kept))
        answers.append(best[:, told])
        start += len(logits)
    p, true_p, highest, other = (np.concatenate(part) for part in zip(*parts, strict=True))
    right = hierarchy.judge(np.concatenate(answers), nodes[:, None])
    names = tuple(hierarchy.ranks[number].name for number in told)
    return Seen(names, Ladder(p, right), true_p, highest, other)


def tell_apart(hierarchy: Hierarchy) -> list[int]:
    """Return the numbers of the ranks that tell labels apart."""
    return [number for number, rank in enumerate(hierarchy.ranks) if len(rank) > 1]


def fit_calibration(
    hierarchy: Hierarchy,
    batches: Batches,
    truth: ArrayLike,
    fitted: Fitted,
    *,
    source: str = "",
    levels: Sequence[float] = LEVELS,
    errors: Sequence[float] = ERRORS,
    rates: Sequence[float] = RATES,
) -> Outcome:
    """Fit everything that a calibration holds.

    Args:
        hierarchy: The labels to choose from.
        batches: The logits of n pictures.
        truth: Node of each picture, shape (n,), or its label's number where there is no tree.
        fitted: What the logits are of.
        source: Where the pictures came from, for people.
        levels: How often answers should be right that back off.
        errors: How often prediction sets may miss the true label.
        rates: How often a picture of a known label may be rejected.

    Raises:
        DataError: If too few pictures show one of the labels.
    """
    nodes = np.asarray(truth, dtype=np.int64)
    located = hierarchy.locate(nodes)
    told, known = tell_apart(hierarchy), located[:, -1] >= 0
    if int(known.sum()) < LEAST or not told:
        raise DataError(
            f"{int(known.sum())} pictures of {len(hierarchy)} labels to choose from are too few",
            f"{LEAST} pictures and two labels are the least, 2000 pictures are better",
        )
    choices = Choices(hierarchy, batches, located)
    half = np.random.default_rng(0).permutation(len(nodes)) % 2 == 0
    scale = _Halves(hierarchy, half, choices.fit(~half), choices.fit(half))
    before, after = look(hierarchy, batches, nodes), look(hierarchy, batches, nodes, scale)
    calibration = Calibration(
        fitted=fitted,
        temperatures=choices.fit(),
        backoff=fit_backoff(after.ladder, levels),
        conformal=_fit_sets(hierarchy, batches, after, errors, scale),
        rejection=fit_rejection(after.best[known], after.held_out[known], rates),
        ranks=tuple(_say(before, after, number) for number in _measured(after)),
        pictures=len(nodes),
        choices=len(hierarchy),
        shown=len(np.unique(located[known, -1])),
        source=source,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    reliability = [
        {seen.ranks[number]: seen.measure(number) for number in _measured(seen)}
        for seen in (before, after)
    ]
    return Outcome(calibration, *reliability)


@dataclass(frozen=True)
class _Halves:
    """Gives each half of the pictures its own temperatures."""

    hierarchy: Hierarchy
    half: NDArray[np.bool_]
    first: Temperatures
    second: Temperatures

    def __call__(self, logits: Tensor, rows: NDArray[np.int64]) -> Tensor:
        scaled = torch.empty_like(logits, dtype=torch.float32)
        for temperatures, which in ((self.first, self.half), (self.second, ~self.half)):
            some = torch.from_numpy(np.flatnonzero(which[rows])).to(logits.device)
            if len(some):
                scaled[some] = temperatures.apply(self.hierarchy, logits[some])
        return scaled


def _true_at(levels: Sequence[Tensor], located: Tensor, level: int) -> Tensor:
    """Return the probability of the true group of each picture at a level, -1 where unknown."""
    own = located[:, level]
    found = levels[level].gather(1, own.clamp(min=0)[:, None])[:, 0]
    return found.masked_fill(own < 0, -1.0)


def _fit_sets(
    hierarchy: Hierarchy, batches: Batches, seen: Seen, errors: Sequence[float], scale: Scale
) -> tuple[Conformal, ...]:
    told = [hierarchy.ranks[number] for number in tell_apart(hierarchy)]
    true = [part[part >= 0] for part in seen.true.T]
    thresholds = [find_thresholds(part, errors) if len(part) else {} for part in true]
    sizes = np.zeros((len(told), len(errors)))
    start = 0
    for logits in batches():
        levels = hierarchy.probabilities(scale(logits, np.arange(start, start + len(logits))))
        for number, rank in enumerate(told):
            for place, threshold in enumerate(thresholds[number].values()):
                sizes[number, place] += float(find_sets(levels[rank.level], threshold).sum())
        start += len(logits)
    return tuple(
        Conformal(rank.name, error, threshold, float((part < threshold).mean()), float(size))
        for rank, part, found, row in zip(told, true, thresholds, sizes / start, strict=True)
        for (error, threshold), size in zip(found.items(), row, strict=False)
    )


def _measured(seen: Seen) -> list[int]:
    """Return the ranks at which the truth of any picture is known."""
    return np.flatnonzero((seen.ladder.right >= 0).any(axis=0)).tolist()


def _say(before: Seen, after: Seen, number: int) -> RankFigures:
    (right, said), (_, was) = after.answers(number), before.answers(number)
    return RankFigures(
        rank=after.ranks[number],
        pictures=len(said),
        right=float(right.mean()),
        said_before=float(was.mean()),
        said=float(said.mean()),
        error_before=before.measure(number).error,
        error=after.measure(number).error,
        floor=find_floor(said),
    )
