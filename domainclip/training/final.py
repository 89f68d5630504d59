"""The last stage of a run: the best model tested on every split, at every rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domainclip.data.datamodule import PictureData
from domainclip.domains.contract import PromptSet
from domainclip.evaluation.metrics import ScoreRow, Tally
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.recipe.schema import Recipe

from .module import ContrastiveModule


@dataclass(frozen=True)
class Tested:
    """One split scored against one set of candidate labels."""

    split: str
    candidates: str
    tally: Tally
    rows: tuple[ScoreRow, ...]


def test_model(
    module: ContrastiveModule, data: PictureData, prompts: PromptSet, recipe: Recipe, device: str
) -> list[Tested]:
    """Score the model on its test splits.

    Labels that were trained on are said by their names, through the names head. Labels that were
    not are said by descriptions without a name, through the captions head: once among themselves,
    and once among all labels, all of them described.
    """
    seen = np.unique(data.splits["train"].nodes)
    module.eval().to(device)
    tested = []
    for split in ("test", "test_unseen"):
        if split not in data.splits:
            continue
        pooled, truth = embed_split(module, data, split, device)
        for name, nodes in _candidates(data, split, seen):
            described = split == "test_unseen" and all(int(n) in data.descriptions for n in nodes)
            texts = [
                data.descriptions[int(n)] if described else label_texts(data.tree, int(n), prompts)
                for n in nodes
            ]
            tally = Tally(data.tree, nodes)
            head = "captions" if described else "names"
            _count(tally, module, pooled, truth, texts, head, prompts)
            rows = tally.rows(
                split=split,
                candidates_name=name,
                groups=data.groups.get(split),
                bootstrap=recipe.evaluate.bootstrap,
                seed=recipe.seed,
            )
            tested.append(Tested(split, name, tally, tuple(rows)))
    return tested


def _candidates(
    data: PictureData, split: str, seen: NDArray[np.int64]
) -> list[tuple[str, NDArray[np.int64]]]:
    if split == "test":
        return [("seen", seen)]
    unseen = np.setdiff1d(data.unseen, seen)
    return [("unseen", unseen), ("all", np.concatenate([seen, unseen]))] if len(unseen) else []


@torch.no_grad()
def embed_split(
    module: ContrastiveModule, data: PictureData, split: str, device: str
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return pooled image features (n, width) of a split, and its label nodes (n,)."""
    features, nodes = [], []
    for batch in data.loader(split):
        features.append(module.model.pool(module.normalise(batch.pixels.to(device))).float())
        nodes.append(batch.nodes.numpy())
    return torch.cat(features), np.concatenate(nodes).astype(np.int64)


@torch.no_grad()
def _count(
    tally: Tally,
    module: ContrastiveModule,
    pooled: Tensor,
    truth: NDArray[np.int64],
    texts: Sequence[Sequence[str]],
    head: str,
    prompts: PromptSet,
    batch_size: int = 1024,
) -> None:
    """Classify by batches, so that no matrix of pictures and labels is ever kept."""
    labels = embed_labels(module.model, texts, prompts.pooling)
    scale = module.model.scale(head)
    for start in range(0, len(pooled), batch_size):
        images = module.model.project(pooled[start : start + batch_size], head)
        probabilities = (scale * images @ labels.T).softmax(dim=1)
        tally.add(probabilities, truth[start : start + batch_size])
