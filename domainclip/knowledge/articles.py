"""The article before a word."""

from __future__ import annotations

import re

_AN = re.compile(r"(?!uni|us[eu]|eu|one\b|once\b|u-)[aeiou]|hour|honest", re.IGNORECASE)


def find_article(phrase: str) -> str:
    """Return "an" before a vowel sound, as its letters tell, else "a"."""
    return "an" if _AN.match(phrase) else "a"


def with_article(phrase: str) -> str:
    """Return a phrase with "a" or "an" before it."""
    return f"{find_article(phrase)} {phrase}"


def match_case(word: str, like: str) -> str:
    """Return a word with a capital where another has one."""
    return word.capitalize() if like[:1].isupper() else word
