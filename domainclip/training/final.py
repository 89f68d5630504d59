"""The last stage of a run: the best model tested on every split, at every rank."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domainclip.data.datamodule import PictureData
from domainclip.domains.contract import PromptSet
from domainclip.evaluation.metrics import ScoreRow, Tally
from domainclip.evaluation.retrieval import find_hits, score_hits
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.model.clip import DomainClip
from domainclip.model.truncation import find_cut
from domainclip.recipe.schema import Recipe

from .module import ContrastiveModule
from .tokens import CutTexts

MOST_QUERIES = 2000
"""Pictures whose captions are looked for, and the other way round."""


@dataclass(frozen=True)
class Tested:
    """One split scored against one set of candidate labels."""

    split: str
    candidates: str
    tally: Tally
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class FinalTest:
    """Everything that the tests of a run found."""

    parts: list[Tested]
    retrieval: list[ScoreRow]
    """Recall between pictures and their captions, both ways; empty where there are no captions."""
    said: CutTexts
    """The different texts that stood for labels and pictures."""

    @property
    def rows(self) -> list[ScoreRow]:
        """The whole results table."""
        return [*(row for part in self.parts for row in part.rows), *self.retrieval]


def test_model(
    module: ContrastiveModule, data: PictureData, prompts: PromptSet, recipe: Recipe, device: str
) -> FinalTest:
    """Score the model on its test splits.

    Labels that were trained on are told by their names, through the names head. Labels that were
    not are told by descriptions without a name, through the captions head: once among themselves,
    and once among all labels, all of them described. Where pictures have captions, they are looked
    for among each other through the captions head.
    """
    seen = np.unique(data.splits["train"].nodes)
    module.eval().to(device)
    tested: list[Tested] = []
    retrieval: list[ScoreRow] = []
    said: set[tuple[str, str]] = set()
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
            said.update((text, head) for several in texts for text in several)
            _count(tally, module, pooled, truth, texts, head, prompts)
            rows = tally.rows(
                split=split,
                candidates_name=name,
                groups=data.groups.get(split),
                bootstrap=recipe.evaluate.bootstrap,
                seed=recipe.seed,
            )
            tested.append(Tested(split, name, tally, tuple(rows)))
        captions, found = test_retrieval(module, data, split, pooled, recipe)
        said.update((caption, "captions") for caption in captions)
        retrieval += found
    return FinalTest(tested, retrieval, count_cut(module.model, said))


def test_retrieval(
    module: ContrastiveModule, data: PictureData, split: str, pooled: Tensor, recipe: Recipe
) -> tuple[list[str], list[ScoreRow]]:
    """Return the captions looked for among each other with their pictures, and recall both ways.

    At most `MOST_QUERIES` pictures are taken, drawn by the run's seed.

    Args:
        module: The model.
        data: The pictures, see `PictureData.reference_captions`.
        split: Name of the split.
        pooled: Pooled image features of the split, shape (n, width).
        recipe: Names seed and bootstrap.
    """
    captions = data.reference_captions(split)
    rows = np.flatnonzero([bool(caption) for caption in captions])
    if len(rows) < 2:
        return [], []
    if len(rows) > MOST_QUERIES:
        drawn = np.random.default_rng(recipe.seed).choice(rows, MOST_QUERIES, replace=False)
        rows = np.sort(drawn)
    texts = sorted({captions[row] for row in rows})
    index = {text: i for i, text in enumerate(texts)}
    with torch.no_grad():
        images = module.model.project(pooled[torch.from_numpy(rows)], "captions")
        encoded = embed_labels(module.model, [[text] for text in texts], head="captions")
    # Few and small: one machine's kernels, so that ties do not depend on the device.
    hits = find_hits(
        images.cpu(), encoded.cpu(), [(i, index[captions[row]]) for i, row in enumerate(rows)]
    )
    groups = data.groups.get(split)
    scored = score_hits(
        hits,
        split=split,
        groups=None if groups is None else [groups[row] for row in rows],
        bootstrap=recipe.evaluate.bootstrap,
        seed=recipe.seed,
    )
    return texts, scored


def count_cut(model: DomainClip, said: Collection[tuple[str, str]]) -> CutTexts:
    """Return how many of some different texts do not fit into the model's text tower.

    Args:
        model: Its tokenizer, prefixes and context length.
        said: (text, head that it is for).
    """
    cut = 0
    for head in sorted({head for _, head in said}):
        texts = sorted(text for text, its in said if its == head)
        cut += int(find_cut(model, texts, model.tokenize(texts, head), head).sum())
    return CutTexts(len(said), cut)


def _candidates(
    data: PictureData, split: str, seen: NDArray[np.int64]
) -> list[tuple[str, NDArray[np.int64]]]:
    if split == "test":
        return [("seen", seen)] if data.labelled else []
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
    labels = embed_labels(module.model, texts, prompts.pooling, head=head)
    scale = module.model.scale(head)
    for start in range(0, len(pooled), batch_size):
        images = module.model.project(pooled[start : start + batch_size], head)
        probabilities = (scale * images @ labels.T).softmax(dim=1)
        tally.add(probabilities, truth[start : start + batch_size])
