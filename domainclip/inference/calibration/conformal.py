"""Prediction sets: the labels that are probable enough for the true one to be among them.

A set holds every label whose calibrated probability reaches a threshold, and the most probable one
always. The threshold is the highest below which true labels fell so seldom, on calibration
pictures, that missing more than asked can be ruled out: sets of least ambiguity (Sadinle et al.
2019, arXiv:1609.00451), with coverage for the calibration pictures at hand rather than on average
over them (Vovk 2012, arXiv:1209.2673). Adaptive sets (Romano et al. 2020, arXiv:2006.02544) were
larger in every case that was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .bounds import find_quantile

ERRORS = (0.2, 0.1, 0.05, 0.01)


@dataclass(frozen=True)
class Conformal:
    """A threshold for the sets of a rank at an error rate, and what it gave."""

    rank: str
    error: float
    """How often a set may miss the true label."""
    threshold: float
    """The least probability of a label in a set; 0, for sets of all, where too few pictures tell.
    """
    missed: float
    """How often the true label was less probable than that."""
    size: float
    """Mean number of labels in a set."""


def find_sets(probabilities: Tensor, threshold: float) -> Tensor:
    """Return which labels are in the set of each picture, shape (m, n).

    Args:
        probabilities: Calibrated ones, shape (m, n).
        threshold: The least probability of a label in a set.
    """
    return probabilities >= probabilities.amax(dim=-1, keepdim=True).clamp(max=threshold)


def find_thresholds(
    true: NDArray[np.float32], errors: Sequence[float] = ERRORS
) -> dict[float, float]:
    """Return the threshold for each error rate.

    Args:
        true: Calibrated probability of the true label of each picture, shape (n,).
        errors: The error rates.
    """
    return {error: max(find_quantile(true, error), 0.0) for error in errors}
