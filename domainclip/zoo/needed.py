"""Which files of a repository a model is made of."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from domainclip.errors import DataError

from .card import Card, Source

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model",
)  # fmt: skip
"""Names under which tokenizers are saved, never code."""
ARCHITECTURE = {
    "open_clip": ("open_clip_config.json", "config.json"),
    "transformers": ("config.json", "preprocessor_config.json", "processor_config.json"),
    "domainclip": (
        "open_clip_config.json", "domainclip.json", "labels.csv", "heads.safetensors",
        "calibration.json", "text_tower/config.json", "LICENSE", "NOTICE",
    ),
}  # fmt: skip
WEIGHTS = {
    "open_clip": (
        "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth",
    ),
    "transformers": (
        "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
    "domainclip": ("open_clip_model.safetensors",),
}  # fmt: skip
"""In the order of preference: what needs no unpickling comes first."""
SHARDS = "*.index.json"


def choose_files(card: Card, names: Collection[str], where: str) -> list[str]:
    """Return the files that a model is made of.

    Args:
        card: Its card.
        names: What the repository holds.
        where: The repository, for the error.

    Raises:
        DataError: If one that it needs is missing.
    """
    if card.source.files:
        return _all_of(card.source, names, where)
    if card.by_hand:
        return list(names)
    weights = next((name for name in WEIGHTS[card.kind] if name in names), None)
    first, *more = ARCHITECTURE[card.kind]
    missing = [first] * (first not in names) + [WEIGHTS[card.kind][0]] * (weights is None)
    if missing or weights is None:
        raise DataError(
            f"{where} has no {' and no '.join(missing)}",
            "say in the card which files the model is made of: source.files",
        )
    extra = [name for name in (*more, *TOKENIZER) if name in names]
    return [first, *extra, weights]


def choose_text_files(source: Source, names: Collection[str], where: str) -> list[str]:
    """Return the files that a text tower is set up from: its configuration and its tokenizer.

    Raises:
        DataError: If there are none.
    """
    if source.files:
        return _all_of(source, names, where)
    found = [name for name in ("config.json", *TOKENIZER) if name in names]
    if not found:
        raise DataError(f"{where} has neither config.json nor a tokenizer", "name them in the card")
    return found


def find_shards(index: Path, names: Collection[str]) -> list[str]:
    """Return the files that an index of weights names.

    Raises:
        DataError: If it is no index, or one of them is missing.
    """
    try:
        found = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{index.name} is no index of weights: {error}") from error
    if missing := [name for name in found if name not in names]:
        raise DataError(f"{index.name} names {missing[0]!r}, which is not there")
    return found


def is_index(name: str) -> bool:
    """Return whether a file names the files that weights are spread over."""
    return fnmatch(name, SHARDS)


def place_of(name: str, names: Collection[str]) -> str | None:
    """Return where a file of a repository lies in a folder of the user, who may keep no folders."""
    if name in names:
        return name
    last = re.split(r"[/\\]", name)[-1]
    return last if last in names else None


def _all_of(source: Source, names: Collection[str], where: str) -> list[str]:
    if missing := [name for name in source.files if name not in names]:
        raise DataError(
            f"{where} has no {' and no '.join(missing)}", "look at `source.files` of the card"
        )
    return list(source.files)
