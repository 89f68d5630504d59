"""Several projections of one pooled picture feature, as a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from domainclip.errors import DataError
from domainclip.model.clip import DomainClip
from domainclip.zoo.card import Card

_PROJECTION, _SCALE = "visual.proj", "logit_scale"
"""Where open_clip expects those of the names head."""


@dataclass(frozen=True)
class Projection:
    """A head of a checkpoint."""

    matrix: Tensor
    """Shape (width, dimension)."""
    log_scale: Tensor


def take_heads(
    state: Mapping[str, Tensor], card: Card
) -> tuple[dict[str, Tensor], dict[str, Projection], list[str]]:
    """Take the heads other than `names` out of the weights.

    Returns:
        The weights that open_clip expects, the heads by name, and what was not found of heads that
        the card itself calls unverified.

    Raises:
        DataError: If one that the card names is not there, or is no matrix.
    """
    rest, heads = dict(state), {}
    missing = [
        f"no {key}, which the card gives as that of the head {name!r}"
        for name, head in card.heads.items()
        for key in (head.projection, head.scale)
        if key not in rest
    ]
    if missing and "heads" not in card.unverified:
        raise DataError(
            f"the weights of {card.name} have {'; '.join(missing)}",
            "look at `heads` of the card",
        )
    if missing:  # only the projection that open_clip knows is left
        return rest, {}, [f"the weights have {line}" for line in missing]
    own = {key for head in card.heads.values() for key in (head.projection, head.scale)}
    for name, head in card.heads.items():
        matrix = state[head.projection]
        if matrix.ndim != 2:
            raise DataError(f"{head.projection} of {card.name} is no matrix, but {matrix.shape}")
        heads[name] = Projection(matrix, state[head.scale])
    for key in own:
        del rest[key]
    if heads:
        names = heads.pop("names")
        rest[_PROJECTION], rest[_SCALE] = names.matrix, names.log_scale.reshape(())
    return rest, heads, []


@torch.no_grad()
def set_heads(model: DomainClip, heads: Mapping[str, Projection]) -> None:
    """Give a model the heads that were taken out of its weights.

    Raises:
        DataError: If one does not fit the image tower.
    """
    for name, head in heads.items():
        weight = getattr(model.heads[name], "weight", None)
        if not isinstance(weight, Tensor) or weight.shape != head.matrix.T.shape:
            raise DataError(
                f"the head {name!r} is a matrix of shape {tuple(head.matrix.shape)}, which does "
                "not fit the image tower"
            )
        weight.copy_(head.matrix.T)
        model.log_scales[name].copy_(head.log_scale.reshape(()))
