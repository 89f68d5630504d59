"""The words of whatever may be drawn in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from string import digits
from typing import Any

from domainclip.domains.contract import TraitWords

from .counts import AMOUNTS, NUMBERS, plural_ending
from .labels import say_label
from .swaps import COLOURS, OPPOSITES
from .views import TextViews


def list_texts(views: TextViews, nodes: Sequence[int], words: TraitWords | None) -> Iterator[str]:
    """Yield texts that together have every word which `views` may draw for some labels.

    Args:
        views: What draws.
        nodes: Label nodes of the pictures.
        words: The words of the domain, which wrong captions are made of.
    """
    for end in ("", ")"):  # which the point behind it becomes one token with
        yield from (template.replace("{}", f"it{end}") for template in views.prompts.templates)
    for node in nodes:
        yield from map(views.prompts.clean, say_label(views.tree, node).values())
        yield views.nouns.get(node, "")
    for several in chain(views.captions, views.replay, *views.stored):
        yield from several
    yield "a an the one."
    if not views.negatives:
        return
    yield from (*NUMBERS, *digits, *AMOUNTS, *chain(*OPPOSITES), *COLOURS)
    yield "any no not without with has have is are"
    all_captions = chain(views.captions, *views.stored)
    told = {word for several in all_captions for text in several for word in text.split()}
    yield from (word + plural_ending(word) for word in told)
    if words is not None:
        yield from _strings([*vars(words).values()])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (str(key), *_strings(inner))
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
