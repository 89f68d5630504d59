"""Contrastive losses over a batch of unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE in which only a picture's own text is its positive.

    Radford et al. 2021 (arXiv:2103.00020), figure 3.

    Args:
        images: Unit vectors of shape (n, dim).
        texts: Unit vectors of shape (n, dim), row i belonging to picture i.
        scale: Logit scale, 1/temperature.
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def multi_positive_loss(images: Tensor, texts: Tensor, scale: Tensor, labels: Tensor) -> Tensor:
    """Symmetric cross-entropy whose targets are spread evenly over all pairs of one label.

    Yang et al. 2022, UniCL (arXiv:2204.03610), equations 3 to 5. With all labels different it
    equals `clip_loss`.

    Args:
        images: Unit vectors of shape (n, dim).
        texts: Unit vectors of shape (n, dim), row i belonging to picture i.
        scale: Logit scale, 1/temperature.
        labels: Label ids of shape (n,).
    """
    logits = scale * images @ texts.T
    same = (labels[:, None] == labels[None, :]).to(logits.dtype)
    targets = same / same.sum(dim=1, keepdim=True)
    return (
        functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)
    ) / 2


def caption_loss(
    images: Tensor, texts: Tensor, scale: Tensor, labels: Tensor, said: Tensor
) -> Tensor:
    """Symmetric cross-entropy in which a caption is right for the pictures it was given to.

    A caption says one picture. Pictures with the same caption share it as a positive; whether it
    holds of the other pictures of its label is not known, so these are neither positives nor
    negatives. With all labels and captions different it equals `clip_loss`.

    Args:
        images: Unit vectors of shape (n, dim).
        texts: Unit vectors of shape (n, dim), row i belonging to picture i.
        scale: Logit scale, 1/temperature.
        labels: Label ids of shape (n,).
        said: Caption ids of shape (n,), equal where the captions are.
    """
    logits = scale * images @ texts.T
    positive = said[:, None] == said[None, :]
    unknown = (labels[:, None] == labels[None, :]) & ~positive
    # Finite, since 0 * -inf of a soft target would be NaN.
    logits = logits.masked_fill(unknown, -1e4)
    targets = positive.to(logits.dtype)
    targets = targets / targets.sum(dim=1, keepdim=True)
    return (
        functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)
    ) / 2
