"""What a person reads of a model: its card in words, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domainclip.zoo.card import Card, Source
from domainclip.zoo.store import CARD, RECORD, Place, read_json

KINDS = {
    "open_clip": "a hub folder that open_clip reads",
    "checkpoint": "bare weights, put into the architecture",
    "transformers": "a folder of transformers, converted",
    "domainclip": "a model folder of domainclip, kept as it is",
}
COMMERCIAL = {"yes": "allowed", "no": "not allowed", "unknown": "not known"}
DERIVATIVES = {
    "yes": "may be passed on",
    "no": "may not be passed on",
    "unknown": "not known whether they may be passed on",
}


def card_lines(card: Card, state: str, here: Path | None, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the key and the words of each line; a key that was not checked has a question mark.

    Args:
        card: The model.
        state: As the list says it.
        here: Its folder, where it was pulled.
        path: The file of the card.
    """
    for key, part, text in _lines(card, state, here):
        if text:
            yield f"{key} ?" if part in card.unverified else key, text
    if card.unverified:
        yield "?", "not checked against the files of its publishers"
    yield "card", str(path)


def count_megabytes(size: int) -> int:
    """Return bytes as megabytes, at least one of what is there at all."""
    return max(1, round(size / 1e6)) if size else 0


def say_size(megabytes: int | None) -> str:
    """Return megabytes as people say them; "" where they are not known."""
    if megabytes is None:
        return ""
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.2f} GB"


def _lines(card: Card, state: str, here: Path | None) -> Iterator[tuple[str, str, str]]:
    pins = read_json(Place(card.name).pins)
    accepted = read_json(here / RECORD).get("accepted") if here else None
    differs = read_json(here / CARD).get("card_differs", ()) if here else ()
    yield "", "summary", card.summary
    yield "state", "blocked", f"{state}: {card.blocked}" if card.blocked else state
    yield "notice", "notice", card.notice
    yield "to use it", "", "\n".join(_needs(card, here))
    yield "licence", "licence", card.licence
    if card.gated:
        yield "access", "gated", "the hub asks for a login and an accepted form"
    yield "commercial use", "commercial", COMMERCIAL[card.commercial]
    yield "changed models", "derivatives", DERIVATIVES[card.derivatives]
    yield "accepted", "", str(accepted or "")
    yield "comes from", "source", _say_source(card.source, pins.get("source"))
    yield "kind", "kind", "" if card.blocked else KINDS[card.kind]
    yield "size", "megabytes", say_size(card.megabytes)
    if card.text_source:
        yield (
            "text tower from",
            "text_source",
            _say_source(card.text_source, pins.get("text_source")),
        )
    yield "architecture", "architecture", card.architecture
    yield "towers", "towers", card.towers
    gelu = "QuickGELU" if card.quick_gelu else "GELU"
    yield "activation", "quick_gelu", gelu if card.architecture else ""
    yield "picture", "image_size", f"{card.image_size} pixels a side" if card.image_size else ""
    yield "mean", "mean", ", ".join(map(str, card.mean))
    yield "deviation", "std", ", ".join(map(str, card.std))
    yield "text", "context", f"{card.context} tokens" if card.context else ""
    yield "vector", "dimension", f"{card.dimension} numbers" if card.dimension else ""
    yield "heads", "heads", ", ".join(card.heads)
    yield "left out", "drop_keys", ", ".join(card.drop_keys)
    yield "renamed", "rename_keys", "\n".join(f"{a} → {b}" for a, b in card.rename_keys.items())
    yield "prompts", "prompts", card.prompts and f"the set {card.prompts!r} of its domain"
    if card.label_vectors:
        many = f"{card.label_vectors.labels:,} labels, " if card.label_vectors.labels else ""
        where = _say_source(card.label_vectors.source, pins.get("label_vectors"))
        yield "label vectors", "label_vectors", many + where
    yield "otherwise", "", "\n".join(differs)
    yield "trained on", "trained_on", card.trained_on
    yield "paper", "paper", card.paper
    yield "page", "page", card.page
    yield "published", "scores", "\n".join(_scores(card))


def _needs(card: Card, here: Path | None) -> Iterator[str]:
    """Yield what stands between a user and the first prediction."""
    if card.blocked and not here:
        return
    if card.gated and not here:
        yield f"ask for access at https://huggingface.co/{card.source.repo}, then: hf auth login"
    if not here and card.by_hand:
        yield f"fetch its file as {card.page} says"
    if not here:
        way, file = ("import", " FILE") if card.by_hand else ("pull", "")
        accept = " --accept-license" if card.restricted else ""
        yield f"domainclip zoo {way} {card.name}{file}{accept}"
    else:
        yield f"it lies in {here}"
    yield f"domainclip predict PICTURES --model {card.name} --cls LABELS"


def _say_source(source: Source, pin: Mapping[str, Any] | None) -> str:
    if not source.repo:
        return ""
    found = str((pin or {}).get("revision", ""))
    kind = " (a data set)" if source.repo_type == "dataset" else ""
    said = f"commit {found[:12]}, as first pulled" if found else "no commit pinned"
    said = f"commit {source.revision[:12]}" if source.revision else said
    files = f"\n{', '.join(source.files)}" if source.files else ""
    return f"{source.repo}{kind}, {said}{files}"


def _scores(card: Card) -> Iterator[str]:
    """Yield the figures, those of one metric and source below one line."""
    last = ("", "")
    for score in card.scores:
        if (score.metric, score.source) != last:
            last = (score.metric, score.source)
            yield f"{score.metric} ({score.source}):"
        yield f"{score.value:>7g}  {score.on}"
