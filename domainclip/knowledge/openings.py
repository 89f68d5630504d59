"""What the first sentence of a page, and its categories, say that it is about."""

from __future__ import annotations

import re

from .sentences import split_sentences
from .site import Page

_RELATIVE = re.compile(
    r"\b(?:that|which|who|whose|where|named|called after|after|about|feeds?|food|search|such as)\b"
    r"|[;:]",
    re.I,
)
"""What ends a definition: after it stands what something does, or what it has to do with."""
_VERB = re.compile(r"\b(?:is|are|was|were)\b")
_FIELD = re.compile(r"^In ([^,]+),")
_FORMER = r"\b(?:formerly|previously|once|originally|earlier|syn|synonyms?|basionym|known as)\b"


def was_called(lead: str, name: str) -> bool:
    """Return whether a lead gives a name as a former one, or as another one of the same thing."""
    words = r"\s+".join(map(re.escape, name.split()))
    return re.search(rf"{_FORMER}[^.;]{{0,40}}?\b{words}\b", lead, re.I) is not None


def subject(sentence: str) -> str:
    """Return what a sentence is about: what stands before its verb; "" where it has none."""
    verb = _VERB.search(sentence)
    return sentence[: verb.start()] if verb else ""


def definition(sentence: str) -> str:
    """Return the part of a sentence that says what its subject is, up to a relative clause."""
    verb = _VERB.search(sentence)
    said = sentence[verb.start() if verb else 0 :]
    end = _RELATIVE.search(said)
    field = _FIELD.match(sentence)
    return (field[1] + " " if field else "") + (said[: end.start()] if end else said)


def is_of(category: str, name: str) -> bool:
    """Return whether a category is one of things of that name, rather than one to do with them."""
    match = re.match(rf"{re.escape(name)}(?:s|es)?\b\s*", category, re.I)
    if not match:
        return False
    rest = category[match.end() :].split()
    return len(rest) <= 1 or rest[0] in ("of", "by", "from", "described")


def opening_of(page: Page) -> str:
    """Return the first sentence of a page, which says what it is about."""
    sentences = split_sentences(" ".join(page.lead.split()))
    return sentences[0] if sentences else ""


def says(text: str, name: str) -> bool:
    """Return whether a text has a name as words of its own, in the singular or the plural."""
    words = r"[\s_-]+".join(map(re.escape, name.split()))
    ending = "" if name.endswith("s") else "(?:s|es)?"
    return bool(words) and re.search(rf"(?<!\w){words}{ending}(?!\w)", text, re.I) is not None
