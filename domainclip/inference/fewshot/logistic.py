"""Logistic regression on unit vectors, its penalty chosen on validation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .support import Held, Method, Settings, Support, Vectors, find_accuracy

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Inverse weights of the L2 penalty; cosines differ little, so that weak ones are needed."""
ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Logistic:
    """A weight vector for each label; scores are logits."""

    weights: Vectors
    """Shape (C, dim)."""
    bias: Vectors
    """Shape (C,)."""
    settings: Settings

    def scores(self, features: Vectors) -> Vectors:
        """Return the logit of every label, shape (n, C)."""
        return np.asarray(features @ self.weights.T + self.bias)


def fit_logistic(support: Support, settings: Settings | None = None, seed: int = 0) -> Logistic:
    """Learn under a penalty, that of scikit-learn where none is given."""
    settings = dict(settings or {"C": 1.0})
    return _learn(_make(), support, settings["C"])


def search_logistic(support: Support, held: Held, seed: int = 0) -> Logistic:
    """Learn under the penalty that is best on held pictures; of equal ones the strongest."""
    model, best, most = _make(), None, -1.0
    for strength in STRENGTHS:
        now = _learn(model, support, strength)  # goes on from the one before
        accuracy = find_accuracy(now, held)
        if accuracy > most:
            best, most = now, accuracy
    assert best is not None
    return best


def _make() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=ITERATIONS, warm_start=True)


def _learn(model: Any, support: Support, strength: float) -> Logistic:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that stops early is judged by what it names rightly
        model.set_params(C=strength).fit(support.features, support.labels)
    weights, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    if len(weights) == 1:  # of two labels scikit-learn learns the second against the first
        weights = np.concatenate([np.zeros_like(weights), weights])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return Logistic(weights, bias, {"C": strength})


LOGISTIC = Method(Logistic, fit_logistic, search_logistic)
