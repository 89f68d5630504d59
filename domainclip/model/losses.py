"""Contrastive losses over a batch of pairs of unit vectors, and what is right for what in it.

A batch holds m pairs: row i of `images` and row i of `texts`. Both losses take `rows`, the pairs
that one process answers for: the parts of all processes, each over its own rows against the pairs
of all, add up to the loss of the whole batch (OpenCLIP's "local loss").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_NEVER = -1e4
"""A logit that has no weight; finite, since 0 * -inf of a soft target would be NaN."""


@dataclass(frozen=True)
class Pairing:
    """What is right for what: one row for each pair answered for, one column for each pair."""

    targets: Tensor
    """Shape (r, m): how right the text of pair j is for the picture of pair i, from 0 to 1; and as
    much the picture of pair j for the text of pair i."""
    unknown: Tensor | None = None
    """Shape (r, m), bool: pairs that are neither right nor wrong; None for no such."""


@dataclass(frozen=True)
class Negatives:
    """Texts that are wrong for a few pictures only, such as captions with one trait swapped."""

    texts: Tensor
    """Unit vectors, shape (k, dim)."""
    against: Tensor
    """Shape (r, k), bool: whether text j is known to be wrong for the picture of pair i."""


def pair_own(pictures: Tensor, rows: Tensor | None = None) -> Pairing:
    """Return a pairing in which only the texts drawn for a picture are right for it.

    Args:
        pictures: Picture ids of shape (m,), equal where the pictures are.
        rows: Pairs answered for; None for all.
    """
    return pair_labels(pictures, rows)


def pair_labels(labels: Tensor, rows: Tensor | None = None) -> Pairing:
    """Return a pairing in which every text of a label is right for every picture of it.

    Yang et al. 2022, UniCL (arXiv:2204.03610), equations 3 to 5.

    Args:
        labels: Label ids of shape (m,).
        rows: Pairs answered for; None for all.
    """
    mine = labels if rows is None else labels[rows]
    return Pairing((mine[:, None] == labels[None, :]).float())


def pair_tree(distances: Tensor, softness: float, rows: Tensor | None = None) -> Pairing:
    """Return a pairing in which names of related labels are right too, exp(-d / softness).

    Soft targets from the distance in a label tree: Bertinetto et al. 2020, "Making better
    mistakes" (arXiv:1912.09393), equation 4. As the softness goes to 0 it becomes `pair_labels`.

    Args:
        distances: Edges between the labels of two pairs, shape (m, m).
        softness: Edges after which a name counts 1/e.
        rows: Pairs answered for; None for all.
    """
    mine = distances if rows is None else distances[rows]
    return Pairing(torch.exp(-mine.float() / softness))


def pair_captions(
    labels: Tensor, said: Tensor, pictures: Tensor, rows: Tensor | None = None
) -> Pairing:
    """Return a pairing in which a caption is right for the pictures that it was given to.

    A caption says one picture. Pictures with the same caption share it, and all captions drawn for
    a picture are right for it; whether a caption holds of the other pictures of its label is not
    known, so these are neither right nor wrong.

    Args:
        labels: Label ids of shape (m,).
        said: Caption ids of shape (m,), equal where the captions are.
        pictures: Picture ids of shape (m,), equal where the pictures are.
        rows: Pairs answered for; None for all.
    """

    def same(ids: Tensor) -> Tensor:
        return (ids if rows is None else ids[rows])[:, None] == ids[None, :]

    right = same(said) | same(pictures)
    return Pairing(right.float(), same(labels) & ~right)


def clip_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    pairing: Pairing | None = None,
    *,
    weights: Tensor | None = None,
    negatives: Negatives | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Symmetric cross-entropy over the batch, InfoNCE where only the own text is right.

    Radford et al. 2021 (arXiv:2103.00020), figure 3; targets are spread evenly over what is right,
    as in UniCL (arXiv:2204.03610). Negatives are columns for the pictures alone: Yuksekgonul et
    al. 2022, NegCLIP (arXiv:2210.01936), section 4; other than there, a negative counts against
    the pictures that it is known to be wrong for, not against the whole batch, since a caption
    with a trait swapped may well be right for a neighbour.

    Args:
        images: Unit vectors of shape (m, dim).
        texts: Unit vectors of shape (m, dim), row i belonging to row i of `images`.
        scale: Logit scale, 1/temperature.
        pairing: What is right; None for the own text alone.
        weights: Weight of each pair, shape (m,); None for 1.
        negatives: Texts that are wrong for some pictures.
        rows: Pairs answered for; None for all.
    """
    m = len(images)
    pairing = pairing or pair_own(torch.arange(m, device=images.device), rows)
    own_images, own_texts = (x if rows is None else x[rows] for x in (images, texts))
    to_text, to_image = scale * own_images @ texts.T, scale * own_texts @ images.T
    targets = (pairing.targets / pairing.targets.sum(dim=1, keepdim=True)).to(to_text.dtype)
    if pairing.unknown is not None:
        to_text = to_text.masked_fill(pairing.unknown, _NEVER)
        to_image = to_image.masked_fill(pairing.unknown, _NEVER)
    wide = targets
    if negatives is not None and len(negatives.texts):
        more = scale * own_images @ negatives.texts.T
        to_text = torch.cat([to_text, more.masked_fill(~negatives.against, _NEVER)], dim=1)
        wide = functional.pad(targets, (0, len(negatives.texts)))
    each = (
        functional.cross_entropy(to_text, wide, reduction="none")
        + functional.cross_entropy(to_image, targets, reduction="none")
    ) / 2
    return _mean(each, weights, rows, m)


def siglip_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor,
    pairing: Pairing | None = None,
    *,
    weights: Tensor | None = None,
    negatives: Negatives | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Sigmoid loss: each pair of picture and text is right or wrong by itself.

    Zhai et al. 2023 (arXiv:2303.15343), algorithm 1. A target between 0 and 1 is the probability
    that the pair is right.

    Args:
        images: Unit vectors of shape (m, dim).
        texts: Unit vectors of shape (m, dim), row i belonging to row i of `images`.
        scale: Logit scale.
        bias: Logit bias.
        pairing: What is right; None for the own text alone.
        weights: Weight of each pair, shape (m,); it counts for all that its picture is paired with.
        negatives: Texts that are wrong for some pictures.
        rows: Pairs answered for; None for all.
    """
    m = len(images)
    pairing = pairing or pair_own(torch.arange(m, device=images.device), rows)
    own = images if rows is None else images[rows]
    logits = scale * own @ texts.T + bias
    each = functional.binary_cross_entropy_with_logits(
        logits, pairing.targets.to(logits.dtype), reduction="none"
    )
    if pairing.unknown is not None:
        each = each.masked_fill(pairing.unknown, 0.0)
    total = each.sum(dim=1)
    if negatives is not None and len(negatives.texts):
        wrong = functional.softplus(scale * own @ negatives.texts.T + bias)
        total = total + wrong.masked_fill(~negatives.against, 0.0).sum(dim=1)
    return _mean(total, weights, rows, m)


def _mean(each: Tensor, weights: Tensor | None, rows: Tensor | None, m: int) -> Tensor:
    if weights is not None:
        each = each * (weights if rows is None else weights[rows])
    return each.sum() / m
