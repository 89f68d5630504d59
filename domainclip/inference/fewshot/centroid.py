"""Nearest centroid: centred unit vectors against the mean of each label.

SimpleShot CL2N (Wang et al. 2019, arXiv:1911.04623): the mean of the base pictures is taken off,
what is left gets length one, and the label is that of the nearest mean by Euclidean distance. The
base is the support itself, as there are no other pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .support import Held, Method, Settings, Support, Vectors, blocks, to_unit


@dataclass(frozen=True, eq=False)
class Centroid:
    """The mean of each label; scores are squared distances, negative."""

    centre: NDArray[np.float64]
    """Shape (dim,): the mean of the support."""
    means: NDArray[np.float64]
    """Shape (C, dim): the mean of the centred unit vectors of each label."""
    settings: Settings = field(default_factory=dict)

    def scores(self, features: Vectors) -> Vectors:
        """Return minus the squared distance to every mean, shape (n, C).

        |x - m|^2 = |x|^2 - 2 x m + |m|^2, so that a matrix product does it: pictures x labels x
        dimensions never exist at once. Double precision keeps what the subtraction would cancel.
        """
        found = np.empty((len(features), len(self.means)), dtype=np.float32)
        lengths = np.einsum("ij,ij->i", self.means, self.means)
        for rows in blocks(len(features), len(self.means) + features.shape[1]):
            centred = to_unit(features[rows] - self.centre)
            own = np.einsum("ij,ij->i", centred, centred)
            found[rows] = 2 * centred @ self.means.T - lengths - own[:, None]
        return found


def fit_centroid(support: Support, settings: Settings | None = None, seed: int = 0) -> Centroid:
    """Learn the centre and the means, a block of pictures at a time."""
    features, labels = support.features, support.labels
    centre = features.mean(axis=0, dtype=np.float64)
    count = np.bincount(labels)
    means = np.zeros((len(count), features.shape[1]))
    for rows in blocks(len(features), features.shape[1]):
        centred, own = to_unit(features[rows] - centre), labels[rows]
        starts = np.flatnonzero(np.diff(own, prepend=-1))
        means[own[starts]] += np.add.reduceat(centred, starts, axis=0)
    return Centroid(centre, means / count[:, None])


def search_centroid(support: Support, held: Held, seed: int = 0) -> Centroid:
    """Learn from the support: there is nothing to choose."""
    return fit_centroid(support)


CENTROID = Method(Centroid, fit_centroid, search_centroid)
