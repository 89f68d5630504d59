"""How often the right text is found for a picture, and the right picture for a text.

Recall@k is the share of queries that find a right answer among the k best. A query may have several
right answers: a caption that two pictures share is right for both, and so is everything of one
group where groups are given. Candidates of one score stand in no order, so a query counts with the
probability that a random order of them puts a right one among the k best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from domainclip.errors import UsageError

from .bootstrap import clusters_of
from .metrics import ScoreRow

KS = (1, 5, 10)
RECALL = "recall@"
DIRECTIONS = ("image-to-text", "text-to-image")
_CHUNK = 4_000_000
"""Scores held at once: 16 MB of float32."""


@dataclass(frozen=True)
class Hits:
    """How each pair of a picture and its text fares, as a query either way."""

    pictures: NDArray[np.int64]
    """Shape (pairs,): the picture of each pair."""
    values: NDArray[np.float64]
    """Probability of a right answer among the k best, shape (pairs, 2, k), as in `DIRECTIONS`."""
    ks: tuple[int, ...]
    candidates: tuple[int, int]
    """Different texts and pictures to choose from, as in `DIRECTIONS`."""


def find_hits(
    images: Tensor,
    texts: Tensor,
    pairs: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    ks: Sequence[int] = KS,
    chunk: int = _CHUNK,
) -> Hits:
    """Look for the text of each picture and for the picture of each text.

    The pictures that a text is paired with are right for it, and so are all others of their groups;
    the other way round it is the same.

    Args:
        images: Unit vectors of the pictures, shape (n, dim).
        texts: Unit vectors of the different texts, shape (m, dim).
        pairs: Which picture goes with which text, shape (pairs, 2); each pair is a query both ways.
        groups: Group of each picture, shape (n,); None where each stands for itself.
        ks: How many of the best are looked at.
        chunk: Scores held at once.

    Raises:
        UsageError: If there is no pair, a pair names what is not there, or a vector is not finite.
    """
    said = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    key = np.arange(len(images)) if groups is None else _codes(groups)
    if not len(said):
        raise UsageError("no picture has a text to look for")
    if len(key) != len(images):
        raise UsageError(f"{len(key)} groups for {len(images)} pictures")
    if said.min() < 0 or (said.max(axis=0) >= (len(images), len(texts))).any():
        raise UsageError("a pair names a picture or a text that is not there")
    if not (torch.isfinite(images).all() and torch.isfinite(texts).all()):
        raise UsageError("a vector is not finite", "the model diverged: lower its learning rate")
    members = _lists(key, np.arange(len(key)), int(key.max()) + 1)
    texts_of = _lists(key[said[:, 0]], said[:, 1], len(members))
    keys_of = _lists(said[:, 1], key[said[:, 0]], len(texts))
    to_text = _search(images, texts, lambda row: texts_of[key[row]], said[:, 0], ks, chunk)
    to_image = _search(
        texts, images, lambda row: np.concatenate([members[k] for k in keys_of[row]]),
        said[:, 1], ks, chunk,
    )  # fmt: skip
    return Hits(
        said[:, 0], np.stack([to_text, to_image], axis=1), tuple(ks), (len(texts), len(images))
    )


def score_hits(
    hits: Hits,
    *,
    split: str,
    candidates_name: str = "captions",
    groups: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[ScoreRow]:
    """Return recall both ways, with 95% intervals from pictures drawn anew.

    Rows are called `recall@5 image-to-text`; a k that no query can miss is left out.

    Args:
        hits: What was found.
        split: Name of the split, for the table.
        candidates_name: What is looked for, for the table.
        groups: The patient, slide or specimen of each picture: whole groups are drawn. "" is a
            group of its own.
        bootstrap: Resamples behind the intervals; 0 for none.
        seed: Seeds the resampling.
    """
    clusters = clusters_of(groups, int(hits.pictures.max()) + 1)[hits.pictures]
    mean = hits.values.mean(axis=0)
    low = high = None
    if bootstrap > 0 and len(np.unique(clusters)) > 1:
        drawn = resample_means(hits.values.reshape(len(clusters), -1), clusters, bootstrap, seed)
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0).reshape(2, *mean.shape)
    return [
        ScoreRow(
            split=split,
            candidates=candidates_name,
            rank="",
            metric=f"{RECALL}{k} {direction}",
            value=float(mean[d, i]),
            low=None if low is None else float(low[d, i]),
            high=None if high is None else float(high[d, i]),
            n=len(np.unique(hits.pictures)),
        )
        for d, direction in enumerate(DIRECTIONS)
        for i, k in enumerate(hits.ks)
        if k == 1 or k < hits.candidates[d]
    ]


def resample_means(
    values: NDArray[np.float64], clusters: NDArray[np.int64], bootstrap: int, seed: int
) -> NDArray[np.float64]:
    """Return means of resampled rows, whole clusters drawn with replacement.

    Args:
        values: Shape (n, columns).
        clusters: The unit that each row is drawn with, shape (n,).
        bootstrap: Number of resamples.
        seed: Seeds the draws.

    Returns:
        Shape (bootstrap, columns).
    """
    _, unit = np.unique(clusters, return_inverse=True)
    size = np.bincount(unit).astype(np.float64)
    sums = np.zeros((len(size), values.shape[1]))
    np.add.at(sums, unit, values)
    rng, parts = np.random.default_rng(seed), []
    step = max(1, _CHUNK // len(size))
    for start in range(0, bootstrap, step):
        count = min(step, bootstrap - start)
        weights = rng.multinomial(len(size), np.full(len(size), 1 / len(size)), count)
        parts.append((weights @ sums) / (weights @ size)[:, None])
    return np.concatenate(parts)


@torch.no_grad()
def _search(
    queries: Tensor,
    candidates: Tensor,
    right_of: Callable[[int], NDArray[np.int64]],
    asked: NDArray[np.int64],
    ks: Sequence[int],
    chunk: int,
) -> NDArray[np.float64]:
    """Return the hits of the queries asked, shape (len(asked), ks), each query computed once."""
    # Equal vectors are scored once: the last bits of a product depend on where a row stands.
    vectors, same = torch.unique(candidates, dim=0, return_inverse=True)
    rows, back = np.unique(asked, return_inverse=True)
    step = max(1, chunk // len(candidates))
    parts = []
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        scores = (queries[torch.from_numpy(some).to(queries.device)] @ vectors.T)[:, same]
        right = torch.zeros(scores.shape, dtype=torch.bool)
        for i, row in enumerate(some.tolist()):
            right[i, torch.from_numpy(right_of(row))] = True
        parts.append(_hits(scores, right.to(scores.device), ks))
    return np.concatenate(parts)[back]


def _hits(scores: Tensor, right: Tensor, ks: Sequence[int]) -> NDArray[np.float64]:
    """Return the probability of a right answer among the k best, shape (queries, ks).

    Of the candidates that tie with the best right one, `slots` get a place; that none of these is
    right is a draw without replacement.
    """
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    level = scores == best
    before = (scores > best).sum(dim=1).cpu().numpy()
    tied = level.sum(dim=1).cpu().numpy()
    wrong = tied - (level & right).sum(dim=1).cpu().numpy()
    hits = np.empty((len(scores), len(ks)))
    for column, k in enumerate(ks):
        slots = np.minimum(np.maximum(k - before, 0), tied)
        missed = np.ones(len(scores))
        for j in range(min(k, int(slots.max(initial=0)))):
            draws = j < slots
            missed[draws] *= (np.maximum(wrong - j, 0) / np.maximum(tied - j, 1))[draws]
        hits[:, column] = 1 - missed
    return hits


def _codes(groups: ArrayLike) -> NDArray[np.int64]:
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    return codes.astype(np.int64)


def _lists(
    keys: NDArray[np.int64], values: NDArray[np.int64], size: int
) -> list[NDArray[np.int64]]:
    """Return the different values of each key from 0 to `size`."""
    pairs = np.unique(np.stack([keys, values], axis=1), axis=0)
    cuts = np.searchsorted(pairs[:, 0], np.arange(1, size))
    return np.split(pairs[:, 1], cuts)
