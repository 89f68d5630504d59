"""Accuracy under weights, and its spread when pictures or whole groups are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK = 4_000_000
"""Weights held at once: 16 MB of float32."""


def clusters_of(groups: Sequence[str] | None, total: int) -> NDArray[np.int64]:
    """Return an index of the unit of resampling for each picture, shape (total,)."""
    if groups is None:
        return np.arange(total)
    names = [("group", g) if g else ("alone", str(i)) for i, g in enumerate(groups)]
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([index[name] for name in names], dtype=np.int64)


def accuracies(
    true: NDArray[np.int64],
    place: NDArray[np.int64],
    wanted: Sequence[tuple[int, bool]],
    weights: Tensor,
) -> NDArray[np.float64]:
    """Return weighted top-1, top-5 and mean per class, shape (ranks wanted, 3, resamples).

    Args:
        true: Value of the truth by rank, -1 where not scored, shape (N, ranks).
        place: Values that come before the true one, same shape.
        wanted: Columns to score, and whether top-5 is asked for.
        weights: How often each picture was drawn, shape (N, resamples).
    """
    out = np.zeros((len(wanted), 3, weights.shape[1]))
    kind = weights.dtype
    for i, (column, five) in enumerate(wanted):
        scored = np.flatnonzero(true[:, column] >= 0)
        _, value = np.unique(true[scored, column], return_inverse=True)
        at = torch.from_numpy(place[scored, column])
        drawn = weights if len(scored) == len(weights) else weights[torch.from_numpy(scored)]
        size, index = int(value.max()) + 1, torch.from_numpy(value.astype(np.int64))
        count = torch.zeros(size, weights.shape[1], dtype=kind).index_add_(0, index, drawn)
        hit = (at < 1).to(kind)[:, None] * drawn
        hits = torch.zeros(size, weights.shape[1], dtype=kind).index_add_(0, index, hit)
        total = count.sum(0).double()
        out[i, 0] = (hits.sum(0).double() / total).numpy()
        if five:
            out[i, 1] = (((at < 5).to(kind) @ drawn) / total).numpy()
        present = count > 0  # a label that was not drawn is dropped, as an absent one is
        recall = torch.where(present, hits.double() / count.clamp(min=1), 0.0)
        out[i, 2] = (recall.sum(0) / present.sum(0)).numpy()
    return out


def resample(
    true: NDArray[np.int64],
    place: NDArray[np.int64],
    wanted: Sequence[tuple[int, bool]],
    clusters: NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the accuracies of resampled data, clusters drawn with replacement.

    Args:
        true: Value of the truth by rank, -1 where not scored, shape (N, ranks).
        place: Values that come before the true one, same shape.
        wanted: Columns to score, and whether top-5 is asked for.
        clusters: The unit that each picture is drawn with, shape (N,).
        bootstrap: Number of resamples.
        seed: Seeds the draws.

    Returns:
        Shape (ranks wanted, 3, resamples).
    """
    rng = np.random.default_rng(seed)
    units = int(clusters.max()) + 1
    index = torch.from_numpy(clusters)
    step = max(1, _CHUNK // len(clusters))
    parts = []
    for start in range(0, bootstrap, step):
        size = min(step, bootstrap - start)
        draws = rng.integers(0, units, (size, units)) + np.arange(size)[:, None] * units
        counts = np.bincount(draws.ravel(), minlength=size * units).reshape(size, units)
        weights = torch.from_numpy(counts.T.astype(np.float32))[index]
        parts.append(accuracies(true, place, wanted, weights))
    return np.concatenate(parts, axis=-1)
