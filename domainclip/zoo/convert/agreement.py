"""Holds what the files of a published model say against its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import open_clip

from domainclip.errors import DataError
from domainclip.model.clip import Preprocess
from domainclip.zoo.card import Card

TOWER = ("image_size", "patch_size", "layers", "width")
"""Keys of open_clip's `vision_cfg` that tell one model of a family from another."""


def refuse_another(card: Card, config: Mapping[str, Any], where: str) -> None:
    """Refuse files of a model of another size: it would stand under a name that is not its own.

    Args:
        card: What is known of the model; what it marks as unverified is not held against files.
        config: open_clip's `model_cfg` of the files.
        where: The file, for the error.

    Raises:
        DataError: With what differs.
    """
    if said := list(_find_others(card, config)):
        raise DataError(
            f"{where} is of another model than {card.name}: {'; '.join(said)}",
            f"its files are those of {card.source.repo or card.page}; for others, write a card",
        )


def find_differences(card: Card, config: Mapping[str, Any], preprocess: Preprocess) -> list[str]:
    """Return what the publishers' files say otherwise than the card; the files are followed."""
    said = {
        "image_size": (card.image_size, preprocess.size),
        "context": (card.context, config["text_cfg"].get("context_length", 77)),
        "dimension": (card.dimension, config["embed_dim"]),
        "quick_gelu": (card.quick_gelu, bool(config.get("quick_gelu", False))),
        "mean": (tuple(card.mean), tuple(preprocess.mean)),
        "std": (tuple(card.std), tuple(preprocess.std)),
    }
    return [
        f"{key} is {there} in the files, and {here} in the card"
        for key, (here, there) in said.items()
        if here is not None and here != there
    ]


def _find_others(card: Card, config: Mapping[str, Any]) -> Iterator[str]:
    sure = {"architecture", "dimension", "image_size"} - {*card.unverified}
    if "dimension" in sure and card.dimension not in (None, config["embed_dim"]):
        yield f"its vectors have {config['embed_dim']} numbers, and the card says {card.dimension}"
    if "architecture" not in sure:
        return
    known = open_clip.get_model_config(card.architecture) if card.architecture else None
    for key in TOWER:
        here = (known or {}).get("vision_cfg", {}).get(key)
        there = config["vision_cfg"].get(key)
        skip = key == "image_size" and key not in sure
        if not skip and None not in (here, there) and here != there:
            yield f"{key} is {there}, and {here} in {card.architecture}"
