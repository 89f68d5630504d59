"""What few-shot methods learn from and what they become: unit vectors with labels, and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
Settings: TypeAlias = dict[str, float]

BLOCK = 1 << 20
"""Numbers of an intermediate result that are held at once: 4 MB in single precision."""


@dataclass(frozen=True, eq=False)
class Support:
    """Labelled pictures to learn from, sorted by label; every label has one at least."""

    features: Vectors
    """Unit vectors of the pictures, shape (N, dim); or (N, 2 dim), as the names head sees them and
    beside that as the captions head does."""
    labels: NDArray[np.int64]
    """Shape (N,): 0 to C - 1, ascending."""
    texts: Vectors | None = None
    """Unit vectors of what is said of the labels, shape (C, dim)."""
    captions: Vectors | None = None
    """Unit vectors of the pictures' captions, shape (N, dim)."""
    scale: float = 100.0
    """What the model multiplies cosines of pictures and texts by."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Shape (C,): the first picture of each label."""
        return np.flatnonzero(np.diff(self.labels, prepend=-1))

    def take(self, rows: NDArray[np.int64]) -> Support:
        """Return some of the pictures; `rows` ascend and leave every label one at least."""
        captions = None if self.captions is None else self.captions[rows]
        return replace(
            self, features=self.features[rows], labels=self.labels[rows], captions=captions
        )

    def by_names(self) -> Support:
        """Return it as the names head alone sees it, without captions."""
        if self.texts is None or self.features.shape[1] == self.texts.shape[1]:
            return replace(self, captions=None)
        return replace(self, features=self.features[:, : self.texts.shape[1]], captions=None)


@dataclass(frozen=True, eq=False)
class Held:
    """Labelled pictures to choose on, which nothing is learned from."""

    features: Vectors
    """As those of the support, shape (n, dim) or (n, 2 dim)."""
    labels: NDArray[np.int64]
    """Shape (n,): 0 to C - 1."""

    def __len__(self) -> int:
        return len(self.labels)


class Fitted(Protocol):
    """A method that has learned; a frozen dataclass of arrays, numbers and settings."""

    @property
    def settings(self) -> Settings:
        """What was chosen on validation."""
        ...

    def scores(self, features: Vectors) -> Vectors:
        """Return the score of every label, shape (n, C); the highest is the answer.

        Args:
            features: Unit vectors of pictures, shape (n, dim).
        """
        ...


@dataclass(frozen=True)
class Method:
    """A way to learn from few pictures."""

    kind: Callable[..., Fitted]
    """What it becomes, made anew from its fields."""
    fit: Callable[[Support, Settings | None, int], Fitted]
    """Learns from a support under settings, None for the method's own, and a seed."""
    search: Callable[[Support, Held, int], Fitted]
    """The same with the settings that are best on held pictures."""
    needs: tuple[str, ...] = ()
    """What the support has to have: "texts", "captions"."""


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, as many at a time as `BLOCK` numbers allow where each takes `width`."""
    step = max(1, BLOCK // max(width, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def to_unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return vectors of length one, shape (n, dim); one of no length stays as it is."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return np.asarray(vectors / np.where(length > 0, length, 1))


def sum_by_label(values: Vectors, starts: NDArray[np.int64]) -> Vectors:
    """Return the sums over the pictures of each label, shape (n, C), of values of shape (n, N)."""
    return np.asarray(np.add.reduceat(values, starts, axis=1))


def find_best(fitted: Fitted, features: Vectors) -> NDArray[np.int64]:
    """Return the label of the highest score of each picture, shape (n,); the first of equal ones.

    Args:
        fitted: A method that has learned.
        features: Unit vectors, shape (n, dim).
    """
    best = np.empty(len(features), dtype=np.int64)
    for start in range(0, len(features), 256):
        rows = slice(start, start + 256)
        best[rows] = fitted.scores(features[rows]).argmax(axis=1)
    return best


def find_accuracy(fitted: Fitted, held: Held) -> float:
    """Return the share of held pictures whose label has the highest score."""
    return float((find_best(fitted, held.features) == held.labels).mean())
