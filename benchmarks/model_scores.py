"""One way to score both sides of a comparison: the same pictures, texts and code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from domainclip.data.datamodule import PictureData, open_data
from domainclip.data.images import read_image
from domainclip.domains.contract import PromptSet
from domainclip.domains.registry import get_domain
from domainclip.evaluation.retrieval import DIRECTIONS, find_hits
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.model.clip import DomainClip
from domainclip.model.folder import model_folder
from domainclip.recipe.load import load_recipe
from domainclip.recipe.schema import Recipe

Embed = Callable[[str], Tensor]
"""From the name of a head to unit vectors of the test pictures, shape (n, dim)."""


def open_plain(data: Path, domain: str, size: int) -> PictureData:
    """Return pictures as `quickstart` opens them: tests see the centre, without the margin."""
    recipe = load_recipe(None, "quickstart", {"domain": domain, "data.source": str(data)}).recipe
    return open_data(recipe, get_domain(domain), size)


def open_as_run(run: Path, model: DomainClip) -> tuple[PictureData, PromptSet]:
    """Return the pictures of a run as it was tested on them, and its prompts."""
    values = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    recipe = Recipe.model_validate(values)
    domain = get_domain(recipe.domain)
    data = open_data(recipe, domain, model.preprocess.size)
    return data, domain.prompts[recipe.text.prompts]


def classes_of(data: PictureData) -> NDArray[np.int64]:
    """Return the label nodes that are trained on."""
    return np.unique(data.splits["train"].nodes)


def ours_said(data: PictureData, prompts: PromptSet) -> list[list[str]]:
    """Return every sentence that says each trained label at zero-shot."""
    return [label_texts(data.tree, int(node), prompts) for node in classes_of(data)]


def plainly_said(data: PictureData, prompts: PromptSet, node: int) -> tuple[str, ...]:
    """Return a label's one name, the common one if there is one, in each template."""
    return prompts.say(data.tree.name(node, "common") or data.tree.name(node) or "")


@torch.no_grad()
def top1(
    model: DomainClip, data: PictureData, said: Sequence[Sequence[str]], embed: Embed
) -> float:
    """Return how many of the test pictures are named rightly, the names head used."""
    classes = embed_labels(model, said)
    best = (embed("names") @ classes.T).argmax(dim=1).cpu().numpy()
    return float((classes_of(data)[best] == data.splits["test"].nodes).mean())


def by_loader(model: DomainClip, data: PictureData) -> Embed:
    """Return the pictures' vectors by our own preprocessing."""
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (model.preprocess.mean, model.preprocess.std)
    )
    return _pooled_once(model, ((batch.pixels / 255 - mean) / std for batch in data.loader("test")))


def by_open_clip(model: DomainClip, data: PictureData, source: Path, folder: Path) -> Embed:
    """Return the pictures' vectors by open_clip's preprocessing of a model folder."""
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{model_folder(folder)}")
    files = [source / name for name in data.ids["test"]]
    batches = (
        torch.stack([transform(read_image(file)) for file in files[start : start + 128]])
        for start in range(0, len(files), 128)
    )
    return _pooled_once(model, batches)


@torch.no_grad()
def _pooled_once(model: DomainClip, batches) -> Embed:
    model.eval()
    pooled = torch.cat([model.pool(pixels).float() for pixels in batches])

    @torch.no_grad()
    def embed(head: str) -> Tensor:
        return model.project(pooled, model.head(head))

    return embed


@torch.no_grad()
def find_pairs(
    model: DomainClip, data: PictureData, embed: Embed
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Look for the captions of each test picture and for the picture of each of its captions.

    All pictures that a caption was written for are right for it, and so are all its captions for a
    picture. The captions head is used, where there is one.

    Returns:
        The measures; what each picture adds to each, shape (pictures, 6); of how many queries,
        same shape: a picture is one, each of its captions is one.
    """
    captions = data.captions["test"]
    texts = sorted({text for several in captions for text in several})
    index = {text: i for i, text in enumerate(texts)}
    pairs = [(i, index[text]) for i, several in enumerate(captions) for text in several]
    encoded = embed_labels(model, [[text] for text in texts], head="captions")
    hits = find_hits(embed("captions").cpu(), encoded.cpu(), pairs)
    names, sums, counts = [], [], []
    asked = np.bincount(hits.pictures, minlength=len(captions)).astype(np.float64)
    for d, direction in enumerate(DIRECTIONS):
        for i, k in enumerate(hits.ks):
            found = np.bincount(hits.pictures, hits.values[:, d, i], minlength=len(captions))
            once = direction.startswith("image")  # one query, whatever the number of its captions
            names.append(f"{direction}, recall@{k}")
            sums.append(found / np.maximum(asked, 1) if once else found)
            counts.append(np.minimum(asked, 1) if once else asked)
    return names, np.stack(sums, axis=1), np.stack(counts, axis=1)
