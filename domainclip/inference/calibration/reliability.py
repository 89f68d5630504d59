"""How honest probabilities are: how often what is said at 80% is right, and what errors cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backoff import Ladder, trace

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Probabilities of answers against how often these were right, in bins of equal mass."""

    said: NDArray[np.float64]
    """Mean probability of each bin, shape (n_bins,)."""
    right: NDArray[np.float64]
    """Share of each bin that was right, same shape."""
    counts: NDArray[np.int64]
    """Answers in each bin, same shape."""

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between both, weighted by the counts.

        Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning", with
        bins of equal mass (Nguyen and O'Connor 2015, arXiv:1508.05154). It is above 0 even for
        perfect probabilities, by chance: see `find_floor`.
        """
        return float((np.abs(self.said - self.right) * self.counts).sum() / self.counts.sum())


def measure_reliability(
    probabilities: ArrayLike, right: ArrayLike, bins: int = BINS
) -> Reliability:
    """Return the reliability of answers.

    Args:
        probabilities: What each was given, shape (n,), n at least 1.
        right: Whether it was right, shape (n,).
        bins: Bins of equal mass, in the order of the probabilities; at most n.
    """
    said = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(said, kind="stable")
    parts = np.array_split(order, min(bins, len(said)))
    hit = np.asarray(right, dtype=np.float64)
    return Reliability(
        np.array([said[part].mean() for part in parts]),
        np.array([hit[part].mean() for part in parts]),
        np.array([len(part) for part in parts], dtype=np.int64),
    )


def find_floor(probabilities: ArrayLike, bins: int = BINS, draws: int = 20, seed: int = 0) -> float:
    """Return the calibration error that perfect probabilities would show, by chance alone.

    Args:
        probabilities: As they were given, shape (n,).
        bins: As for `measure_reliability`.
        draws: How often truths are drawn from them.
        seed: Seed of the draws.
    """
    said = np.asarray(probabilities, dtype=np.float64)
    rng = np.random.default_rng(seed)
    errors = [
        measure_reliability(said, rng.random(len(said)) < said, bins).error for _ in range(draws)
    ]
    return float(np.mean(errors))


def measure_area(ladder: Ladder) -> float:
    """Return the area under risk against coverage, over all thresholds; less is better.

    Risk is the share of answers that are wrong, coverage the share of ranks told, over all pictures
    and ranks. With a single rank it is the area of Geifman et al. 2019 (arXiv:1805.08206), with
    several in the spirit of Goren et al. 2024 (arXiv:2405.11533), whose coverage is in bits.
    """
    curve = trace(ladder)
    coverage = curve.depth / ladder.right.size
    risk = curve.wrong / np.maximum(curve.known, 1)
    return float((np.diff(coverage, prepend=0.0) * risk).sum())
