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


def own_pair_loss(images: Tensor, texts: Tensor, scale: Tensor, labels: Tensor) -> Tensor:
    """Symmetric InfoNCE that leaves out the other pairs of one's own label.

    A caption says one picture: what it says may or may not hold of another picture of that label,
    which is therefore neither a positive nor a negative. With all labels different it equals
    `clip_loss`.

    Args:
        images: Unit vectors of shape (n, dim).
        texts: Unit vectors of shape (n, dim), row i belonging to picture i.
        scale: Logit scale, 1/temperature.
        labels: Label ids of shape (n,).
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(logits), device=logits.device)
    same = labels[:, None] == labels[None, :]
    others = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logits = logits.masked_fill(others, float("-inf"))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
