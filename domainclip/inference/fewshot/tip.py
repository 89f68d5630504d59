"""Tip-Adapter: the labels' texts, and the pictures of the support as a cache beside them.

Zhang et al. 2022, arXiv:2207.09519:
logits = scale f W^T + alpha exp(-beta (1 - f F^T)) L, where F are the unit vectors of the support,
L its labels as one-hot rows and W the unit vectors of the texts. Both strengths are chosen on
validation; on a grid of powers of two, where the paper's code takes 20 x 200 equal steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .support import Held, Method, Settings, Support, Vectors, blocks, sum_by_label

START: Settings = {"alpha": 1.17, "beta": 1.0}
"""What the paper's code begins with on ImageNet; it stays where there is nothing to choose on."""
ALPHAS = (0.0, *(2.0**power for power in range(-3, 7)))
"""Weight of the cache; 0 leaves the texts alone."""
BETAS = tuple(2.0**power for power in range(-2, 7))
"""How fast the weight of a cached picture falls with its distance."""


@dataclass(frozen=True, eq=False)
class Tip:
    """Texts and cached pictures; scores are logits."""

    keys: Vectors
    """Shape (N, dim): what stands for the pictures of the support, sorted by label."""
    starts: NDArray[np.int64]
    """Shape (C,): the first key of each label."""
    texts: Vectors
    """Shape (C, dim)."""
    scale: float
    settings: Settings

    def scores(self, features: Vectors) -> Vectors:
        """Return the logit of every label, shape (n, C)."""
        alpha, beta = self.settings["alpha"], self.settings["beta"]
        found = np.asarray(features @ self.texts.T)
        found *= self.scale
        for rows in blocks(len(features), len(self.keys)):
            near = weigh(features[rows] @ self.keys.T, beta)
            found[rows] += alpha * sum_by_label(near, self.starts)
        return found


def weigh(affinity: Vectors, beta: float) -> Vectors:
    """Return exp(-beta (1 - affinity)), shape as given."""
    near = (affinity - 1) * np.float32(beta)
    return np.asarray(np.exp(near, out=near))


def fit_tip(support: Support, settings: Settings | None = None, seed: int = 0) -> Tip:
    """Take the support for the cache."""
    assert support.texts is not None
    return Tip(
        support.features, support.starts, support.texts, support.scale, dict(settings or START)
    )


def search_tip(support: Support, held: Held, seed: int = 0) -> Tip:
    """Take the support for the cache, with the strengths that name most held pictures rightly.

    Of equal ones the smallest alpha is taken, and of these the smallest beta: the nearest to the
    texts alone. Each affinity is computed once, and each exponential once for every beta.
    """
    tip = fit_tip(support)
    right = np.zeros((len(ALPHAS), len(BETAS)), dtype=np.int64)
    for rows in blocks(len(held), len(tip.keys)):
        features, labels = held.features[rows], held.labels[rows]
        said, affinity = tip.scale * (features @ tip.texts.T), features @ tip.keys.T
        for column, beta in enumerate(BETAS):
            cached = sum_by_label(weigh(affinity, beta), tip.starts)
            right[:, column] += count_right(said, cached, labels, ALPHAS)
    row, column = divmod(int(right.argmax()), len(BETAS))
    return replace(tip, settings={"alpha": ALPHAS[row], "beta": BETAS[column]})


def count_right(
    said: Vectors, cached: Vectors, labels: NDArray[np.int64], alphas: Sequence[float]
) -> NDArray[np.int64]:
    """Return for each alpha how many pictures `said + alpha cached`, shape (n, C), names rightly.

    A label whose logit another one equals does not count unless it comes first, as in `find_best`.
    """
    return np.array(
        [int(((said + np.float32(a) * cached).argmax(axis=1) == labels).sum()) for a in alphas],
        dtype=np.int64,
    )


TIP = Method(Tip, fit_tip, search_tip, needs=("texts",))
