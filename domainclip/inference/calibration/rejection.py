"""None of these: pictures whose label is not among those to choose from.

A picture is rejected where even its best logit, scale times cosine, is low: the maximum logit score
(Hendrycks et al. 2022, arXiv:1911.11132). Where it was measured, energy, entropy and the softmax
were no better on held-out labels and on labels that the model was not trained on, taken together.

What is rejected is measured on held-out labels: each calibration picture is looked at a second time
with its own label taken away. A model trained on that label keeps it apart from the others, so that
labels it was never trained on are found less often than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bounds import find_quantile

RATES = (0.01, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Rejection:
    """A threshold below which a picture shows none of the labels, and what it gave."""

    rate: float
    """How often a picture of a label to choose from may be rejected."""
    threshold: float | None
    """The least best logit of a picture that is named; None where too few pictures tell."""
    rejected: float
    """How often pictures were rejected with their label among the others."""
    found: float
    """How often they were with their label held out."""


def fit_rejection(
    known: NDArray[np.float32], held_out: NDArray[np.float32], rates: Sequence[float] = RATES
) -> tuple[Rejection, ...]:
    """Fit a threshold for each rate of false rejections.

    Args:
        known: Best logit of each picture, shape (n,).
        held_out: The same without the picture's own label, shape (n,).
        rates: The rates.
    """
    fitted = []
    for rate in rates:
        threshold = find_quantile(known, rate)
        rejected, found = (float((one < threshold).mean()) for one in (known, held_out))
        fitted.append(
            Rejection(rate, threshold if np.isfinite(threshold) else None, rejected, found)
        )
    return tuple(fitted)


def measure_separation(known: NDArray[np.float32], unknown: NDArray[np.float32]) -> float:
    """Return the chance that an unknown one scores below a known one: the area under the ROC.

    Args:
        known: Scores of what belongs, shape (n,).
        unknown: Scores of what does not, shape (m,).
    """
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, side="left")
    equal = np.searchsorted(ordered, known, side="right") - below
    return float((below + 0.5 * equal).mean() / len(unknown))
