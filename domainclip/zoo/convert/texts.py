"""What reads texts in a published model: its tokenizer, and a text tower of transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from domainclip.errors import DataError
from domainclip.model.clip import Tokenizer
from domainclip.model.tokenizing import MissingTokenizer, find_tokenizer
from domainclip.zoo.card import Card
from domainclip.zoo.needed import TOKENIZER

from .published import read_json

_RUNS_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Keys by which a config or a tokenizer names code of its repository."""
_MACHINE = ("_name_or_path", "name_or_path", "transformers_version")
_MARKS = 2
"""Special tokens of CLIP's vocabulary, at its end: the libraries spell them differently."""
_SAMPLES = ("", "a photo of a cat.", "Felis silvestris, 3 µm & (so on)")


def find_text_tower(card: Card, files: Path, text_files: Path | None) -> dict[str, Any]:
    """Return the config of a text tower that transformers builds.

    Raises:
        DataError: If the files have none, or one that needs code of its repository.
    """
    from transformers import CONFIG_MAPPING

    told: dict[str, Any] = {}
    for place in (text_files, files):
        if place and (place / "config.json").is_file():
            told = read_json(place / "config.json")
            if told.get("model_type") in CONFIG_MAPPING:
                return {k: v for k, v in told.items() if k not in (*_RUNS_CODE, *_MACHINE)}
    kind = told.get("model_type")
    raise DataError(
        f"the text tower of {card.name} is built by transformers, and "
        + (f"its type {kind!r} is not one that it has" if told else "no config.json says how"),
        "name the repository of the text tower in `text_source` of the card",
    )


def is_clips_own(places: Iterable[Path | None]) -> bool | None:
    """Return whether a tokenizer is CLIP's own; None where there is no tokenizer at all."""
    for place in places:
        if place is None:
            continue
        vocabulary = _read_vocabulary(place)
        if vocabulary is not None:
            own = SimpleTokenizer().encoder
            kept = len(own) - _MARKS
            return len(vocabulary) == len(own) and all(
                vocabulary.get(token) == number for token, number in own.items() if number < kept
            )
        if any((place / name).is_file() for name in TOKENIZER):
            return False
    return None


def collect_tokenizer(places: Iterable[Path | None], into: Path) -> None:
    """Copy the files of the first tokenizer that is there, less what names code.

    Raises:
        DataError: If there is none.
    """
    for place in places:
        names = [n for n in TOKENIZER if place and (place / n).is_file()]
        if place is None or not {*names} - {"special_tokens_map.json", "added_tokens.json"}:
            continue
        for name in names:
            shutil.copyfile(place / name, into / name)
        told = into / "tokenizer_config.json"
        if told.is_file():
            kept = {k: v for k, v in read_json(told).items() if k not in _RUNS_CODE}
            told.write_text(json.dumps(kept), encoding="utf-8")
        return
    raise DataError(
        "the model has another tokenizer than CLIP's own, and its files are not among those given",
        "name them in `source.files`, or their repository in `text_source` of the card",
    )


def open_tokenizer(card: Card, folder: Path, vocabulary: int) -> Tokenizer:
    """Return the tokenizer of a model folder.

    Args:
        card: The card of the model.
        folder: The folder.
        vocabulary: Number of tokens that the text tower knows.

    Raises:
        DataError: If it cannot be opened, or is that of another model.
    """
    found: Any = find_tokenizer(f"local-dir:{folder}", card.name)
    if isinstance(found, MissingTokenizer):
        raise DataError(f"the tokenizer of {card.name} cannot be opened: {found.reason}")
    if isinstance(found, SimpleTokenizer):
        size, fits = found.vocab_size, found.vocab_size == vocabulary
    elif isinstance(found, HFTokenizer):
        size = max(found.tokenizer.get_vocab().values(), default=-1) + 1
        fits = size <= vocabulary
    else:
        size, fits = 0, True
    if not fits:
        raise DataError(
            f"the tokenizer found for {card.name} is that of another model: it has {size} tokens, "
            f"and the text tower knows {vocabulary}",
            "name the repository of the right one in `text_source` of the card",
        )
    opened: Tokenizer = found
    return opened


def check_kept(tokenizer: Tokenizer, folder: Path, card: Card) -> None:
    """Refuse a model folder whose tokenizer reads texts otherwise than the one it was made of.

    Raises:
        DataError: If it does.
    """
    kept = find_tokenizer(f"local-dir:{folder}", card.name)
    told = kept.reason if isinstance(kept, MissingTokenizer) else ""
    if told or (kept([*_SAMPLES]) != tokenizer([*_SAMPLES])).any():
        raise DataError(f"the tokenizer of {card.name} is not the same once saved: {told}")


def _read_vocabulary(place: Path) -> dict[str, int] | None:
    """Return token -> number of a byte-pair vocabulary in a folder, or None."""
    found: Any = None
    if (place / "vocab.json").is_file():
        found = read_json(place / "vocab.json")
    elif (place / "tokenizer.json").is_file():
        told = read_json(place / "tokenizer.json").get("model")
        found = told.get("vocab") if isinstance(told, dict) else None
        if isinstance(found, list):  # of SentencePiece: pairs of a token and its score
            return None
    return found if isinstance(found, dict) else None
