"""Compares what a program computes with what the model itself does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from domainclip.data.batches import as_input
from domainclip.errors import DataError
from domainclip.model.clip import Preprocess

from .samples import COUNT, draw_pictures, draw_texts
from .stock import Stock
from .target import LabelVectors, Target
from .towers import SourceTowers, Towers


@dataclass(frozen=True)
class Differences:
    """Largest differences to the model itself, of numbers of unit vectors where not said."""

    images: float
    texts: float
    scale: float
    """Of the logit scale, as a part of it."""
    pixels: float | None
    """Of the input that the program's own preprocessing makes of a picture that has the size
    already; None where it has none."""
    answers: float | None
    """Of probabilities of labels; None where the program gives none."""

    @property
    def largest(self) -> float:
        """The largest of them; not a number where one is none."""
        found = [value for value in asdict(self).values() if value is not None]
        return float(torch.tensor(found).max())

    def as_dict(self) -> dict[str, float]:
        """Return those that were looked at."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def compare(
    source: SourceTowers,
    found: Towers,
    stock: Stock,
    target: Target,
    labels: LabelVectors | None = None,
) -> Differences:
    """Compare towers on random pictures and texts, one alone and many at once.

    Args:
        source: The model.
        found: What was read back.
        stock: The model as it was written.
        target: What it was read with.
        labels: Those that the program answers with.
    """
    pre = stock.preprocess
    pictures = draw_pictures(pre.shortest)
    pixels = torch.stack([_prepare(one, pre) for one in pictures])
    if stock.reads:
        texts = draw_texts()
        ours, theirs = source.tokenize(texts), found.tokenize(texts)
    else:
        ours = theirs = _draw_tokens(stock)
    wanted = source.encode_image(pixels)
    answers = None
    if target.answer is not None and labels is not None:
        logits = source.scale * wanted @ torch.from_numpy(labels.vectors).T
        answers = _largest(logits.softmax(dim=-1), target.answer(found, pixels))
    prepared = None
    if found.prepare is not None:
        prepared = _largest(pixels, torch.stack([found.prepare(one) for one in pictures]))
    return Differences(
        images=_largest(wanted, _in_two(found.encode_image, pixels)),
        texts=_largest(source.encode_text(ours), _in_two(found.encode_text, theirs)),
        scale=abs(found.scale / source.scale - 1),
        pixels=prepared,
        answers=answers,
    )


def require_equal(differences: Differences, limit: float, tool: str) -> None:
    """Refuse an export that differs from the model.

    Raises:
        DataError: If it does.
    """
    if not differences.largest <= limit:  # one that is not a number is refused as well
        told = ", ".join(f"{name} {value:.1e}" for name, value in differences.as_dict().items())
        raise DataError(
            f"the export was removed: read by {tool} it differs from the model by more than "
            f"{limit:g}: {told}",
            "another --to or --dtype may fit this model",
        )


def _in_two(encode: Any, given: Tensor) -> Tensor:
    """Encode the first one alone and the rest together, as programs are used."""
    return torch.cat([encode(given[:1]), encode(given[1:])])


def _prepare(picture: Any, pre: Preprocess) -> Tensor:
    return as_input(picture, pre.shortest, pre.size, pre.mean, pre.std)


def _draw_tokens(stock: Stock) -> Tensor:
    """Return token ids for a model without a tokenizer."""
    words = stock.config["text_cfg"].get("vocab_size", 1000)
    made = torch.Generator().manual_seed(0)
    return torch.randint(1, int(words), (COUNT, stock.context), generator=made)


def _largest(wanted: Tensor, found: Tensor) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    return float((wanted - found).abs().max())
