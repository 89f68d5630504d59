"""The words of whatever may be drawn in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

from domainclip.domains.contract import TraitWords

from .counts import NUMBERS, plural_ending
from .labels import say_label
from .views import TextViews


def list_texts(views: TextViews, nodes: Sequence[int], words: TraitWords | None) -> Iterator[str]:
    """Yield texts that together have every word which `views` may draw for some labels.

    Args:
        views: What draws.
        nodes: Label nodes of the pictures.
        words: The words of the domain, which wrong captions are made of.
    """
    yield from views.prompts.templates
    for node in nodes:
        yield from map(views.prompts.clean, say_label(views.tree, node).values())
        yield views.nouns.get(node, "")
    for several in chain(views.captions, views.replay, *views.stored):
        yield from several
    yield "a an the one."
    if not views.negatives:
        return
    yield from NUMBERS
    yield "any no not without with has have is are"
    all_captions = chain(views.captions, *views.stored)
    told = {word for several in all_captions for text in several for word in text.split()}
    yield from (word + plural_ending(word) for word in told)
    if words is not None:
        for part in fields(words):
            yield from _strings(getattr(words, part.name))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (str(key), *_strings(inner))
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
