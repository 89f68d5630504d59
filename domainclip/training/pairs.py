"""How well pictures and their captions find each other, for validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from domainclip.data.datamodule import PictureData
from domainclip.errors import DataError
from domainclip.evaluation.retrieval import find_hits
from domainclip.inference.prompts import embed_labels
from domainclip.model.clip import DomainClip
from domainclip.recipe.schema import Recipe


class Recall(NamedTuple):
    """What pictures and their captions find."""

    hits: Tensor
    """Recall@1 of each picture and its caption, the mean of both ways, shape (n,)."""
    chance: float
    """Mean probability of a picture's caption among all."""


def recall_pairs(
    model: DomainClip, images: Tensor, captions: Sequence[str], head: str = "names"
) -> Recall:
    """Look for the caption of each picture, and for the picture of each caption.

    Pictures of the same caption are right for it. Weights that are not finite find nothing.

    Args:
        model: Encodes the captions.
        images: Unit vectors of the pictures, shape (n, dim).
        captions: One for each picture.
        head: The head that both are seen under.
    """
    texts = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    said = torch.tensor([texts[text] for text in captions])
    encoded = embed_labels(model, [[text] for text in texts], head=head).float().cpu()
    images = images.float().cpu()
    if not (images.isfinite().all() and encoded.isfinite().all()):
        return Recall(torch.zeros(len(images)), 0.0)
    hits = find_hits(images, encoded, list(enumerate(said.tolist())), ks=(1,))
    chances = (model.scale(head).detach().cpu() * images @ encoded.T).softmax(dim=1)
    return Recall(
        torch.from_numpy(hits.values).float().mean(dim=(1, 2)),
        float(chances[torch.arange(len(said)), said].mean()),
    )


def goes_by_pairs(recipe: Recipe, data: PictureData) -> bool:
    """Return whether validation looks for captions rather than for the names of labels."""
    return not data.labelled or recipe.train.choose_by == "captions"


def require_pairs(recipe: Recipe, data: PictureData) -> None:
    """Check that there are captions where validation looks for them.

    Raises:
        DataError: If fewer than two validation pictures have one.
    """
    if not goes_by_pairs(recipe, data):
        return
    if len([caption for caption in data.reference_captions("val") if caption]) > 1:
        return
    why = "train.choose_by is captions" if data.labelled else "no label tells the pictures apart"
    raise DataError(
        f"{why}, and fewer than two validation pictures have a caption: nothing can choose the "
        "best weights",
        "give the validation pictures captions, or "
        + ("choose by names: --train.choose_by names" if data.labelled else "the pictures labels"),
    )
