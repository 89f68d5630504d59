"""How sure scores are: one temperature, so that probabilities mean what they say."""

from __future__ import annotations

import numpy as np

from .support import Fitted, Held

TEMPERATURES = np.geomspace(0.01, 20, 50)


def find_temperature(fitted: Fitted, held: Held) -> float:
    """Return what to divide scores by, so that their softmax is most likely for held pictures.

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599). The target of n pictures is
    (n + 1) / (n + 2), as Platt (1999) has it: few pictures that are all named rightly are no proof
    of certainty.

    Args:
        fitted: A method that has learned.
        held: Pictures that it has not learned from.
    """
    losses = np.zeros(len(TEMPERATURES))
    wrong = 1 / (len(held) + 2)
    for start in range(0, len(held), 256):
        rows = slice(start, start + 256)
        labels = held.labels[rows, None]
        scores = fitted.scores(held.features[rows]).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        own = np.take_along_axis(scores, labels, axis=1)[:, 0]
        others = (scores.sum(axis=1) - own) / (scores.shape[1] - 1)
        said = (1 - wrong) * own + wrong * others
        for i, temperature in enumerate(TEMPERATURES):
            total = np.log(np.exp(scores / temperature).sum(axis=1))
            losses[i] += (total - said / temperature).sum()
    return float(TEMPERATURES[losses.argmin()])
