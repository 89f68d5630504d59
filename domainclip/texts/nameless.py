"""Captions without the names of their label, so that what they describe has to do.

A model that always reads the name beside a description need not read the description: DesCo
(arXiv:2306.14060) takes names out for that reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from domainclip.domains.labels import LabelTree
from domainclip.knowledge.articles import match_case
from domainclip.knowledge.lexicon import Claim, Lexicon
from domainclip.knowledge.mentions import find_names, own_names, replace_names

_ONE = re.compile(r"\b(an?) one\b", re.IGNORECASE)


def take_names_out(
    caption: str, tree: LabelTree, node: int, noun: str = "", lexicon: Lexicon | None = None
) -> str:
    """Return a caption with a noun in the place of the names of its label.

    Args:
        caption: It stays as it is where it says no name.
        tree: The label tree.
        node: The label.
        noun: What a picture of it shows; "" puts "one" there.
        lexicon: The words of the field. A name of plain words that they read as something seen, as
            "small white" in "small white wings" or "river", stays.
    """
    found = [*find_names(caption, own_names(tree, node))]
    if found and lexicon is not None:
        seen = [(c.start, c.end) for c in (*lexicon.claims(caption), *lexicon.mentions(caption))]
        found = [name for name in found if not (name.value.islower() and _is_seen(name, seen))]
    if not found:
        return caption
    text = replace_names(caption, found, noun)
    return _ONE.sub(lambda match: match_case("one", match[1]), text)


def _is_seen(name: Claim, seen: Sequence[tuple[int, int]]) -> bool:
    """Return whether every word of a name is a word for something seen."""
    return all(
        any(start < name.start + word.end() and name.start + word.start() < end
            for start, end in seen)
        for word in re.finditer(r"\S+", name.text)
    )  # fmt: skip
