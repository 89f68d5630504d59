"""Back-off: name a picture at the deepest rank that is sure enough, by a threshold that was tested.

An answer at threshold t is the most probable node of the deepest rank where that node has a
calibrated probability of t at least. For a level asked, such as 0.95, the threshold is the lowest
one at which answers were wrong so seldom, on calibration pictures, that a risk above 1 - level can
be ruled out, by a binomial bound as in selective classification (Geifman and El-Yaniv
2017, arXiv:1705.08500), by rank as in hierarchical selective classification (Goren et al. 2024,
arXiv:2405.11533). Thresholds are tested in a fixed order, from the level itself down, and the first
one that fails ends it, so that many tests cost nothing (Angelopoulos et al. 2021,
arXiv:2110.01052).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bounds import DOUBT, is_ruled_out

LEVELS = (0.8, 0.9, 0.95, 0.99)
NEVER = 2.0
"""A threshold that no probability passes."""


@dataclass(frozen=True)
class BackOff:
    """A threshold for a level, and what it gave on the calibration pictures."""

    level: float
    """How often an answer should be right."""
    threshold: float
    risk: float
    """Share of the answers that were wrong."""
    coverage: float
    """Share of the pictures with an answer that tells labels apart."""
    depth: float
    """Mean number of ranks told, 0 without an answer; only ranks that tell labels apart count."""
    pictures: int
    assured: bool
    """Whether a higher risk than asked can be ruled out. Where it cannot, as with few pictures, the
    threshold is the level itself if the risk that was seen is low enough, else `NEVER`."""


@dataclass(frozen=True)
class Ladder:
    """What would be answered for each picture at each rank, coarsest first.

    Only ranks that tell labels apart belong here: what all labels share is always right.
    """

    probabilities: NDArray[np.float32]
    """Of the best node there, shape (n, n_ranks)."""
    right: NDArray[np.int8]
    """1 right, 0 wrong, -1 nobody knows; same shape."""


@dataclass(frozen=True)
class Curve:
    """What answers come to, threshold by threshold, strictest first; sums over the pictures."""

    thresholds: NDArray[np.float64]
    answered: NDArray[np.int64]
    known: NDArray[np.int64]
    """Answers of which it is known whether they are right."""
    wrong: NDArray[np.int64]
    depth: NDArray[np.int64]
    """Ranks told."""


def find_rank(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Return the deepest rank of each picture with a probability that passes; -1 where none does.

    Args:
        probabilities: Of the best node of each rank, shape (n, n_ranks).
        threshold: The least probability that passes.
    """
    passed = probabilities >= threshold
    deepest = passed.shape[1] - 1 - passed[:, ::-1].argmax(axis=1)
    return np.where(passed.any(axis=1), deepest, -1)


def trace(ladder: Ladder) -> Curve:
    """Return what answers come to at every threshold that makes a difference."""
    p = ladder.probabilities.astype(np.float64)
    ranks = np.broadcast_to(np.arange(p.shape[1]), p.shape)
    # A rank is answered at from its own probability down to that of the next deeper one above it.
    deeper = np.zeros_like(p)
    deeper[:, :-1] = np.maximum.accumulate(p[:, :0:-1], axis=1)[:, ::-1]
    used = p > deeper
    gains = np.stack([np.ones(p.shape), ladder.right >= 0, ladder.right == 0, ranks + 1], axis=-1)
    at = np.concatenate([p[used], deeper[used]])
    change = np.concatenate([gains[used], -gains[used]]).astype(np.int64)
    keep = at > 0
    thresholds, place = np.unique(-at[keep], return_inverse=True)
    sums = np.zeros((len(thresholds), 4), dtype=np.int64)
    np.add.at(sums, place, change[keep])
    answered, known, wrong, depth = sums.cumsum(axis=0).T
    return Curve(-thresholds, answered, known, wrong, depth)


def fit_backoff(ladder: Ladder, levels: Sequence[float] = LEVELS) -> tuple[BackOff, ...]:
    """Fit a threshold for each level."""
    curve = trace(ladder)
    return tuple(_fit(curve, level, len(ladder.right)) for level in levels)


def _fit(curve: Curve, level: float, pictures: int) -> BackOff:
    risk = 1 - level
    start = int(np.searchsorted(-curve.thresholds, -level, side="right")) - 1
    place, assured = start, _passes(curve, start, risk)
    if assured:
        while _passes(curve, place + 1, risk):
            place += 1
    else:
        stricter = _find_stricter(curve, start, risk)
        place, assured = (start, False) if stricter is None else (stricter, True)
    if assured:
        threshold = float(curve.thresholds[place])
    elif place >= 0 and curve.wrong[place] <= risk * curve.known[place]:
        threshold = level
    else:
        threshold, place = NEVER, -1
    sums = (curve.answered, curve.known, curve.wrong, curve.depth)
    answered, known, wrong, depth = (0 if place < 0 else int(part[place]) for part in sums)
    return BackOff(
        level=level,
        threshold=threshold,
        risk=wrong / max(known, 1),
        coverage=answered / pictures,
        depth=depth / pictures,
        pictures=pictures,
        assured=assured,
    )


def _find_stricter(curve: Curve, start: int, risk: float) -> int | None:
    """Return a threshold above the level itself that passes, of those with fewer answers.

    Nine are tested, at nine tenths of the answers and so on, each with a tenth of the doubt.
    """
    if start < 0:
        return None
    for tenths in range(9, 0, -1):
        wanted = curve.answered[start] * tenths // 10
        place = int(np.searchsorted(curve.answered[: start + 1], wanted, side="right")) - 1
        if _passes(curve, place, risk, DOUBT / 10):
            return place
    return None


def _passes(curve: Curve, place: int, risk: float, doubt: float = DOUBT) -> bool:
    """Tell whether a higher risk can be ruled out for the threshold at a place, if there is one."""
    inside = 0 <= place < len(curve.thresholds)
    return inside and is_ruled_out(int(curve.wrong[place]), int(curve.known[place]), risk, doubt)
