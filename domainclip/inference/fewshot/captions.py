"""CapS-Adapter: a cache of pictures and of their captions, blended.

Wang et al. 2024, arXiv:2405.16591, the M-Adapter over a support of pictures with captions:

    A      = (1 - delta) f F^T + delta f T^T
    logits = scale f W^T + alpha exp(-beta (1 - A)) L - gamma psi(M) L

F are the unit vectors of the support's pictures, T those of their captions, L their labels as
one-hot rows and W the texts. M_ij is the Kullback-Leibler divergence of what support picture j is
likely to be from what picture i is, softmax(f W^T / 0.5) each, and psi stretches M over the range
of A. The paper's code takes both ranges over all test pictures; here they are those of the support,
so that a picture's answer does not depend on the pictures beside it. That code also leaves W out of
the softmax, which the text does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .support import Held, Method, Settings, Support, Vectors, blocks, sum_by_label
from .tip import ALPHAS, BETAS, START, count_right, weigh

TEMPERATURE = 0.5
GAMMAS = (0.0, 0.125, 0.5, 2.0, 8.0, 32.0)
"""Weight of the divergence."""
DELTAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of the captions in the affinity."""
RANGED = 2048
"""Pictures of the support that the ranges are taken over, against all of it."""


@dataclass(frozen=True, eq=False)
class Caps:
    """Texts, cached pictures and cached captions; scores are logits."""

    pictures: Vectors
    """Shape (N, dim): the support as the names head sees it, sorted by label."""
    captions: Vectors
    """Shape (N, dim)."""
    starts: NDArray[np.int64]
    """Shape (C,): the first picture of each label."""
    texts: Vectors
    """Shape (C, dim)."""
    likely: NDArray[np.float64]
    """Shape (C, C): the log of what each label's pictures are likely to be, summed over them."""
    stretch: NDArray[np.float64]
    """Shape (2,): psi(x) = stretch[0] + stretch[1] x."""
    scale: float
    settings: Settings

    def scores(self, features: Vectors) -> Vectors:
        """Return the logit of every label, shape (n, C).

        Args:
            features: Unit vectors of pictures, shape (n, dim), or (n, 2 dim) with what the captions
                head sees beside what the names head sees.
        """
        alpha, beta = self.settings["alpha"], self.settings["beta"]
        found = np.empty((len(features), len(self.texts)), dtype=np.float32)
        for rows in blocks(len(features), 2 * len(self.pictures)):
            said = self.say(features[rows])
            near = weigh(self.blend(*self.see(features[rows])), beta)
            found[rows] = said + alpha * sum_by_label(near, self.starts)
            if self.settings["gamma"]:
                found[rows] -= self.settings["gamma"] * self.diverge(features[rows])
        return found

    def say(self, features: Vectors) -> Vectors:
        """Return scale f W^T, shape (n, C)."""
        return np.asarray(self.scale * (features[:, : self.texts.shape[1]] @ self.texts.T))

    def see(self, features: Vectors) -> tuple[Vectors, Vectors]:
        """Return f F^T and f T^T, shape (n, N) each."""
        dim = self.texts.shape[1]
        return features[:, :dim] @ self.pictures.T, features[:, -dim:] @ self.captions.T

    def blend(self, seen: Vectors, told: Vectors) -> Vectors:
        """Return the affinity A, shape (n, N)."""
        delta = np.float32(self.settings["delta"])
        return np.asarray((1 - delta) * seen + delta * told)

    def diverge(self, features: Vectors) -> NDArray[np.float64]:
        """Return psi(M) L, shape (n, C).

        KL(p | q_j) = sum p log p - p log q_j, and psi is linear: the sums over each label's
        pictures need nothing but the sums of their log q.
        """
        own, divergent = self.guess(features)
        count = np.diff(self.starts, append=len(self.pictures))
        total = count * own[:, None] - divergent @ self.likely.T
        return np.asarray(self.stretch[0] * count + self.stretch[1] * total)

    def guess(self, features: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sum p log p, shape (n,), and p, shape (n, C)."""
        logs = guess_labels(features, self.texts)
        chances = np.exp(logs)
        return np.einsum("ij,ij->i", chances, logs), chances


def guess_labels(features: Vectors, texts: Vectors) -> NDArray[np.float64]:
    """Return the log of softmax(f W^T / 0.5), shape (n, C)."""
    logits = (features[:, : texts.shape[1]] @ texts.T).astype(np.float64) / TEMPERATURE
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def fit_caps(support: Support, settings: Settings | None = None, seed: int = 0) -> Caps:
    """Take the support's pictures and captions for the cache."""
    assert support.texts is not None
    assert support.captions is not None
    texts = support.texts
    likely = np.zeros((len(texts), len(texts)))
    for rows in blocks(len(support), len(texts)):
        np.add.at(likely, support.labels[rows], guess_labels(support.features[rows], texts))
    caps = Caps(
        np.ascontiguousarray(support.features[:, : texts.shape[1]]),
        support.captions,
        support.starts,
        texts,
        likely,
        np.zeros(2),
        support.scale,
        dict(settings or {**START, "gamma": 0.0, "delta": 0.5}),
    )
    return replace(caps, stretch=find_stretch(caps, support.features))


def search_caps(support: Support, held: Held, seed: int = 0) -> Caps:
    """Take the support for the cache, with the settings that name most held pictures rightly.

    Of equal ones the smallest alpha is taken, then gamma, then beta, then delta.
    """
    start = fit_caps(support)
    best, most = start, -1
    for delta in DELTAS:
        now = replace(start, settings={**start.settings, "delta": delta})
        now = replace(now, stretch=find_stretch(now, support.features))
        right = np.zeros((len(ALPHAS), len(GAMMAS), len(BETAS)), dtype=np.int64)
        for rows in blocks(len(held), 2 * len(support)):
            features, labels = held.features[rows], held.labels[rows]
            said, diverged = now.say(features), now.diverge(features).astype(np.float32)
            bases = [said - np.float32(gamma) * diverged for gamma in GAMMAS]
            affinity = now.blend(*now.see(features))
            for column, beta in enumerate(BETAS):
                cached = sum_by_label(weigh(affinity, beta), now.starts)
                for row, base in enumerate(bases):
                    right[:, row, column] += count_right(base, cached, labels, ALPHAS)
        if right.max() > most:
            a, g, b = np.unravel_index(right.argmax(), right.shape)
            chosen = {"alpha": ALPHAS[a], "beta": BETAS[b], "gamma": GAMMAS[g], "delta": delta}
            best, most = replace(now, settings=chosen), int(right.max())
    return best


def find_stretch(caps: Caps, features: Vectors) -> NDArray[np.float64]:
    """Return what stretches divergences over the range of affinities, shape (2,).

    Both ranges are those of pictures of the support against the others of it.

    Args:
        caps: The cache, for its delta.
        features: The support's own vectors, shape (N, dim) or (N, 2 dim).
    """
    every = np.unique(np.linspace(0, len(features) - 1, RANGED).astype(np.int64))
    lows, highs = np.full(2, np.inf), np.full(2, -np.inf)
    logs = guess_labels(features, caps.texts)
    for rows in blocks(len(every), 4 * len(features)):
        own = every[rows]
        affinity = caps.blend(*caps.see(features[own]))
        entropy, chances = caps.guess(features[own])
        ranged: list[NDArray[Any]] = [entropy[:, None] - chances @ logs.T, affinity]
        for i, values in enumerate(ranged):
            at = np.arange(len(own))
            values[at, own] = values[at, own - 1]  # a picture is no neighbour of itself
            lows[i], highs[i] = min(lows[i], values.min()), max(highs[i], values.max())
    rate = (highs[1] - lows[1]) / max(highs[0] - lows[0], 1e-12)
    return np.array([lows[1] - rate * lows[0], rate])


CAPS = Method(Caps, fit_caps, search_caps, needs=("texts", "captions"))
