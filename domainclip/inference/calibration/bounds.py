"""What a number of failures rules out: the exact binomial test behind every threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

DOUBT = 0.05
"""Chance, over the draw of the calibration pictures, that a threshold fails too often."""


def binomial_tail(failures: int, trials: int, rate: float) -> float:
    """Return the chance of at most so many failures (Clopper and Pearson 1934).

    Args:
        failures: How many there were.
        trials: Out of how many.
        rate: The chance of each.
    """
    k = np.arange(failures + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    ways = logs[trials] - logs[k] - logs[trials - k]
    return float(np.exp(ways + k * np.log(rate) + (trials - k) * np.log1p(-rate)).sum())


def is_ruled_out(failures: int, trials: int, rate: float, doubt: float = DOUBT) -> bool:
    """Tell whether so few failures would be rarer than `doubt` at a rate above `rate`."""
    return trials > 0 and binomial_tail(failures, trials, rate) <= doubt


def find_quantile(scores: ArrayLike, rate: float, doubt: float = DOUBT) -> float:
    """Return the highest score below which a rate of more than `rate` can be ruled out.

    Args:
        scores: Shape (n,).
        rate: The share of further scores that may lie below it.
        doubt: The chance that more do.

    Returns:
        One of the scores, or -inf where too few of them tell.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    low, high = 0, len(ordered)  # so many may lie below: the greatest number that passes
    while low < high:
        middle = (low + high) // 2
        if is_ruled_out(middle, len(ordered), rate, doubt):
            low = middle + 1
        else:
            high = middle
    return float(ordered[low - 1]) if low else -np.inf
