"""The article of a noun phrase that lacks it, told by the parts that a field names."""

from __future__ import annotations

from .articles import with_article
from .lexicon import Lexicon
from .tokens import fold_word

_LINK_WORDS = """
of in on at with without along across against between to from by inside over under near each
"""
LINKS = frozenset(_LINK_WORDS.split())
"""Words that end a noun phrase."""
_BEFORE = """
a an the no not its their his her this that these those each every any some one two three four five
six seven eight nine ten both all half several few many most more less much only
"""
_DETERMINERS = frozenset(_BEFORE.split())
_PLURALS = ("ae", "i", "ices", "eet", "eeth")
"""Endings of plurals without an s: antennae, villi, apices, feet, teeth."""


def add_article(phrase: str, lexicon: Lexicon) -> str:
    """Return a noun phrase with "a" or "an" where its noun is one part in the singular without any.

    "dark body" becomes "a dark body"; "dark wings", "grey fur" and "its dark body" stay, as does
    whatever ends in no part that the field names.
    """
    words = phrase.split()
    if not words or words[0].lower() in _DETERMINERS or words[0][0].isdigit():
        return phrase
    place = next((i for i, word in enumerate(words) if i and word in LINKS), len(words))
    noun = " ".join(words[:place])
    parts = lexicon.mentions(noun)
    if not parts or parts[-1].end != len(noun):
        return phrase
    if not all(_is_one(claim.value, lexicon) for claim in parts):
        return phrase
    return with_article(phrase)


def _is_one(part: str, lexicon: Lexicon) -> bool:
    """Return whether a word for a part is a count noun in the singular, as far as can be told."""
    last = part.split()[-1]
    if {part, last} & {*lexicon.words.uncounted} or last != fold_word(last):
        return False
    if last.endswith("a"):  # "antenna" and "antennae", but "elytra"
        return any(f"{last}e" in ways for ways in lexicon.words.parts.values())
    return not last.endswith(_PLURALS)
