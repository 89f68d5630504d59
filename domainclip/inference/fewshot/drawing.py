"""Which pictures of each label are learned from: so many, drawn by a seed, that can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .galleries import Gallery
from .support import Vectors


def queue_pictures(labels: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """Return the pictures of each label in the order in which they are drawn.

    The first k of a label are among its first k + 1.

    Args:
        labels: The label of each picture, shape (n,), 0 to C - 1, every one at least once.
        seed: Seed of the order.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def gather(
    gallery: Gallery, queues: Sequence[NDArray[np.int64]], shots: int, head: str, title: str = ""
) -> tuple[list[NDArray[np.int64]], Vectors]:
    """Return readable pictures of each label, and their vectors in the same order, shape (N, dim).

    In the place of a picture that cannot be read the next one of its label is drawn.

    Args:
        gallery: The pictures.
        queues: Those of each label, as they are drawn.
        shots: How many of each; 0 for all.
        head: What the vectors are under.
        title: What a progress bar says.
    """
    taken: list[list[int]] = [[] for _ in queues]
    found: dict[int, Vectors] = {}
    at = [0] * len(queues)
    while True:
        wave = []
        for i, queue in enumerate(queues):
            more = queue[at[i] : at[i] + shots - len(taken[i])] if shots else queue[at[i] :]
            at[i] += len(more)
            wave.append(more)
        rows = np.concatenate(wave)
        if not len(rows):
            break
        vectors, good = gallery.encode(rows, head, title)
        owners = np.repeat(np.arange(len(queues)), [len(more) for more in wave])
        for row, owner, vector in zip(rows[good], owners[good], vectors, strict=True):
            taken[owner].append(int(row))
            found[int(row)] = vector
    chosen = [np.array(sorted(rows), dtype=np.int64) for rows in taken]
    every = [found[row] for rows in chosen for row in rows.tolist()]
    return chosen, np.stack(every) if every else np.zeros((0, 0), np.float32)
