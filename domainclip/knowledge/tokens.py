"""Words of a text in the form in which they are compared, each with its place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)?|[^\w\s]")
_HYPHENS = frozenset("-‐‑")
_ARTICLES = frozenset({"a", "an", "the"})
_SPELLING = {
    "center": "centre",
    "color": "colour",
    "colored": "coloured",
    "colorless": "colourless",
    "fiber": "fibre",
    "gray": "grey",
    "grayish": "greyish",
    "mold": "mould",
    "multicolored": "multicoloured",
    "unicolored": "unicoloured",
}


@dataclass(frozen=True)
class Tokens:
    """The words and points of a text; articles and hyphens are folded into what follows them.

    All lists have one entry a token.
    """

    text: str
    words: list[str]
    """Lower case, singular, British spelling: what is compared."""
    starts: list[int]
    ends: list[int]
    articles: list[int]
    """Where the article directly before the token begins, -1 without one."""
    glued: list[bool]
    """Whether a hyphen joins the token to the one before it; one more entry at the end."""

    def __len__(self) -> int:
        return len(self.words)


def read_tokens(text: str) -> Tokens:
    """Return the words and points of a text.

    "white-spotted" is two words that are glued; "a" and "the" are no words of their own.
    """
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    articles: list[int] = []
    glued: list[bool] = []
    article, joined, before = -1, False, -1
    for match in _TOKEN.finditer(text):
        raw, start = match.group(), match.start()
        if raw in _HYPHENS and start == before:
            joined, before = words[-1:] != ["and"], match.end()
            continue
        lower = raw.lower()
        joined = joined and start == before and lower != "and"  # "black-and-white" is two colours
        before = match.end()
        if lower in _ARTICLES and not joined:
            article = start
            continue
        words.append(fold_word(lower))
        starts.append(start)
        ends.append(before)
        articles.append(article)
        glued.append(joined)
        article, joined = -1, False
    glued.append(False)
    return Tokens(text, words, starts, ends, articles, glued)


@lru_cache(maxsize=65536)
def fold_word(word: str) -> str:
    """Return a lower-case word without its plural ending, in British spelling."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        if word.endswith("ies") and len(word) > 4:
            word = word[:-3] + "y"
        elif word.endswith(("ches", "shes", "xes", "sses", "zes")):
            word = word[:-2]
        else:
            word = word[:-1]
    return _SPELLING.get(word, word)
