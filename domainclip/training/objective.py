"""The loss of a batch's features: what a recipe calls right, weighed, under each head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domainclip.data.batches import Batch
from domainclip.domains.labels import LabelTree
from domainclip.model.clip import DomainClip
from domainclip.model.gates import Gates
from domainclip.model.losses import (
    Negatives,
    Pairing,
    clip_loss,
    pair_captions,
    pair_labels,
    pair_own,
    pair_tree,
    siglip_loss,
)
from domainclip.recipe.schema import Loss
from domainclip.texts.views import Draw

from .processes import count_processes, process_rank

HEADS = ("names", "captions")


@dataclass(frozen=True)
class Said:
    """The texts of a batch and what they are drawn for."""

    draw: Draw
    tokens: Tensor
    """Shape (texts, context_length)."""
    pictures: Tensor
    """Shape (m,): for each draw the row of its picture in the batch."""
    texts: Tensor
    """Shape (m,): for each draw the row of its text."""


class Objective(nn.Module):
    """The loss of a whole batch, or one process's part of it.

    Args:
        loss: What the recipe says of it.
        tree: The label tree, for distances.
        weights: Weight of each picture by its index, shape (n,); None where all count alike.
        labelled: Whether labels tell pictures apart; else only captions do.
    """

    def __init__(
        self,
        loss: Loss,
        tree: LabelTree,
        weights: NDArray[np.float32] | None = None,
        *,
        labelled: bool = True,
    ) -> None:
        super().__init__()
        self.loss, self.tree, self.weights = loss, tree, weights
        self.labelled = labelled
        self.gates = Gates() if loss.gates else None
        self.heard: set[str] = set()
        """Heads that something was said to in the last batch."""

    def forward(
        self, model: DomainClip, pooled: Tensor, encoded: Tensor, said: Said, batch: Batch
    ) -> Tensor:
        """Return the loss; with several processes, the mean of what all return is the whole.

        Args:
            model: Its heads and scales are used.
            pooled: Pooled image features of the whole batch, shape (n, width).
            encoded: Unit vectors of all texts, shape (texts, dim).
            said: The texts.
            batch: The batch, for labels and weights.
        """
        with torch.autocast(pooled.device.type, enabled=False):  # few sums, over many orders
            return self._whole(model, pooled.float(), encoded.float(), said, batch)

    def _whole(
        self, model: DomainClip, pooled: Tensor, encoded: Tensor, said: Said, batch: Batch
    ) -> Tensor:
        weights = self._weigh(model, pooled, encoded, said, batch)
        # Every parameter has a gradient, which several processes wait for, said to or not.
        rest = (
            *model.heads.parameters(),
            *model.log_scales.parameters(),
            *model.biases.parameters(),
        )
        total = 0.0 * (pooled.sum() + encoded.sum() + sum(p.sum() for p in rest))
        self.heard = set()
        world, counted = count_processes(), 0
        mine = said.pictures // (len(pooled) // world) == process_rank()
        for head, chosen in zip(HEADS, (~said.draw.is_caption, said.draw.is_caption), strict=True):
            draws = torch.from_numpy(np.flatnonzero(chosen)).to(pooled.device)
            # A head counts by its pictures, not by how many captions each of them was given.
            count = len(np.unique(said.draw.pictures[chosen]))
            counted += count
            if len(draws) < 2:
                continue
            self.heard.add(model.head(head))
            rows = torch.nonzero(mine[draws])[:, 0] if world > 1 else None
            images = model.project(pooled[said.pictures[draws]], head)
            texts, scale = encoded[said.texts[draws]], model.scale(head)
            pairing = self._pair(head, batch.nodes, said, draws, rows)
            also: dict[str, Any] = {
                "weights": None if weights is None else weights[draws],
                "negatives": _wrong(head, encoded, said, draws, rows),
                "rows": rows,
            }
            if self.loss.kind == "siglip":
                part = siglip_loss(images, texts, scale, model.bias(head), pairing, **also)
            else:
                part = clip_loss(images, texts, scale, pairing, **also)
            total = total + part * count
        return total * (world / counted)

    def _pair(
        self, head: str, nodes: Tensor, said: Said, draws: Tensor, rows: Tensor | None
    ) -> Pairing:
        """Return what is right for what among some draws."""
        pictures = said.pictures[draws]
        labels = nodes[pictures]
        if self.loss.targets == "own":
            return pair_own(pictures, rows)
        if head == "captions":
            # The captions of other pictures of a label are neither right nor wrong; of one label
            # for all, that would leave nothing to learn from.
            alike = labels if self.labelled else pictures
            return pair_captions(alike, said.texts[draws], pictures, rows)
        if self.loss.targets == "tree":
            return pair_tree(self._distances(labels), self.loss.softness, rows)
        return pair_labels(labels, rows)

    def _distances(self, labels: Tensor) -> Tensor:
        """Return the edges between the labels of all pairs, shape (m, m)."""
        nodes, places = np.unique(labels.cpu().numpy(), return_inverse=True)
        apart = np.full((len(nodes), len(nodes)), np.inf, dtype=np.float32)
        np.fill_diagonal(apart, 0.0)
        known = np.flatnonzero(nodes >= 0)  # a replayed picture has no place in the tree
        within = nodes[known]
        apart[np.ix_(known, known)] = self.tree.distance(within[:, None], within[None, :])
        return torch.from_numpy(apart[np.ix_(places, places)]).to(labels.device)

    def _weigh(
        self, model: DomainClip, pooled: Tensor, encoded: Tensor, said: Said, batch: Batch
    ) -> Tensor | None:
        """Return the weight of each draw, shape (m,): stored ones times gates; None for all 1."""
        weights: Tensor | None = None
        if self.weights is not None:
            stored = torch.from_numpy(self.weights[batch.indices.cpu().numpy()])
            weights = stored.to(pooled.device)[said.pictures]
        if self.gates is None:
            return weights
        gate = self._gate(self.gates, model, pooled, encoded, said)
        return gate if weights is None else gate * weights

    @torch.no_grad()
    def _gate(
        self, gates: Gates, model: DomainClip, pooled: Tensor, encoded: Tensor, said: Said
    ) -> Tensor:
        """Return the gate of each draw, shape (m,).

        Each caption is gated beside the name of its picture, a name by the mean over the captions
        of its picture. A text that stands alone has the mean gate of its kind, so that it counts
        as much as the others.
        """
        caption = torch.from_numpy(said.draw.is_caption).to(pooled.device)
        name_of = torch.full((len(pooled),), -1, device=pooled.device)
        name_of[said.pictures[~caption]] = torch.nonzero(~caption)[:, 0]
        captions = torch.nonzero(caption & (name_of[said.pictures] >= 0))[:, 0]
        pictures = said.pictures[captions]
        names = name_of[pictures]
        images = torch.stack([model.project(pooled[pictures], head) for head in HEADS])
        told = (encoded[said.texts[draws]] for draws in (names, captions))
        of_names, of_captions = gates(images, *told)
        gate, count = (torch.zeros(len(caption), device=pooled.device) for _ in range(2))
        for draws, found in ((names, of_names), (captions, of_captions)):
            gate.index_add_(0, draws, found)
            count.index_add_(0, draws, torch.ones_like(found))
        gate = gate / count.clamp(min=1)
        for kind in (caption, ~caption):
            known = gate[kind & (count > 0)]
            gate[kind & (count == 0)] = known.mean() if len(known) else 1.0
        return gate

    def silent(self, model: DomainClip) -> Iterator[nn.Parameter]:
        """Yield what belongs to heads that nothing was said to in the last batch."""
        for head in model.heads:
            if head not in self.heard:
                yield from model.heads[head].parameters()
                yield model.log_scales[head]
                if head in model.biases:
                    yield model.biases[head]


def _wrong(
    head: str, encoded: Tensor, said: Said, draws: Tensor, rows: Tensor | None
) -> Negatives | None:
    """Return the wrong captions: each counts for the pictures of the caption it was made from."""
    if head != "captions" or not len(said.draw.wrong):
        return None
    texts, of = said.draw.wrong.T
    # Pictures with the same caption may have been given the same wrong one, which counts once.
    pairs = np.unique(np.stack([texts, said.draw.rows[of]]), axis=1)
    wrong, captions = torch.from_numpy(pairs).to(encoded.device)
    mine = said.texts[draws if rows is None else draws[rows]]
    return Negatives(encoded[wrong], mine[:, None] == captions[None, :])
