"""From features to probabilities: a softmax over labels, summed up to a rank."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from domainclip.domains.groups import Groups

from .label_cache import LabelMatrix
from .rollup import roll_up

AT_ONCE = 1 << 27
"""Scores that are held at once, half a gigabyte of them; more pictures are taken in turns."""


def count_rows(labels: int) -> int:
    """Return how many pictures are scored at once against so many labels."""
    return max(1, AT_ONCE // max(labels, 1))


def find_logits(
    matrix: LabelMatrix, features: Tensor, scale: float, log_prior: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield logits of some pictures at a time, shape (m, n).

    Args:
        matrix: Vectors of the n labels.
        features: Unit vectors of the pictures, shape (N, dim).
        scale: What cosines are multiplied by.
        log_prior: What is added to the logits of each label, shape (n,).
    """
    step = count_rows(len(matrix))
    for start in range(0, len(features), step):
        logits = matrix.multiply(features[start : start + step]).mul_(scale)
        yield logits if log_prior is None else logits.add_(log_prior.to(logits.device))


def into_probabilities(logits: Tensor, groups: Groups | None = None) -> Tensor:
    """Turn logits of shape (m, n) into probabilities, in place; of groups, where some are given.

    Returns:
        Shape (m, n) or (m, n_groups); rows sum to one.
    """
    logits.sub_(logits.amax(dim=-1, keepdim=True)).exp_()
    logits.div_(logits.sum(dim=-1, keepdim=True))
    return logits if groups is None else roll_up(logits, groups)


def top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k highest scores of each row and their places; of equal ones the first goes first.

    Args:
        scores: Shape (m, n).
        k: How many; at most n.
    """
    values, places = scores.topk(k, dim=-1)
    equal = (values[:, 1:] == values[:, :-1]).any(dim=-1)
    equal |= (scores >= values[:, -1:]).sum(dim=-1) > k
    for row in torch.nonzero(equal)[:, 0].tolist():
        order = torch.sort(scores[row], descending=True, stable=True)
        values[row], places[row] = order.values[:k], order.indices[:k]
    return values, places
