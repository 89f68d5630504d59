"""What a page says it is about: the phrase after "is a" in its lead, and the heads of categories.

A name that is mentioned in passing says nothing of what a page is about: "a shrub that feeds many
Lepidoptera" is no butterfly. So only the defining phrase is looked at, up to where it leaves what
the thing is for what it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .sentences import split_sentences

_ASIDE = re.compile(r"\s*\([^()]*\)")
_INSERTED = re.compile(r",\s+(?:the|an?|or|also|known|called|which|who|whose)\b[^,;:]*,")
_COPULA = re.compile(r"\b(?:is|are|was|were|refers? to|belongs? to|means)\b")
_SUBJECT = re.compile(r"(?:it|they|this|these)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[,;:]")
_PLACE = re.compile(r"(?:the\s+)?(?:\w+\s+of\s+)?(?:[a-z]+-)?[A-Z]\w\w")
_KINDS = re.compile(
    "type|kind|sort|group|variety|form|member|part|series|stage|set|body|piece|stretch|strip"
    "|subset|class|category|any|one|number|division|stream|cell|field|plot|tract|expanse"
    "|place|site|area|system|network|collection|mass|method|way"
)
"""Nouns after which "of" goes on to say what a thing is."""
_STOPS = re.compile(
    "that|which|who|whom|whose|where|when|while|because|although|if|on|by|for|with|at|against"
    "|about|near|among|inside|between|through|during|after|before|as|like|than|via|over|under"
    "|but|used|found|known|seen|named|based|designed|built|featuring|starring"
)
_OTHERS = re.compile(
    "food|host|prey|enemy|pest|pathogen|parasite|parasitoid|predator|disease|film|song|novel"
    "|album|book|game|band|ship|company|surname|magazine"
)
"""Nouns after which "of" or "in" names something else."""
_PLACING = re.compile("belonging|placed|classified|included|assigned|consisting")
_LINKS = re.compile("in|from|within|to|of")
_ANEW = re.compile("an?|the|and|or|its|their")
_FORMER = (
    r"\b(?:formerly|previously|once|originally|earlier|older|"
    r"syn\.|synonyms?|basionym|known as|its name was)(?!\w)"
)
_CATEGORY_END = re.compile(r"\s+(?:of|in|by|from|about|described|named|native|with|on|for|at|to)\s")


def defining_phrases(lead: str, ranks: Sequence[str], *, english: bool = True) -> Iterator[str]:
    """Yield what a lead says its subject is: "genus of moths in the family Noctuidae".

    Args:
        lead: The text before the first heading.
        ranks: Names of ranks: "in the family" goes on, "in Spain" does not.
        english: Whether the text is; else its first sentence is yielded whole.
    """
    sentences = split_sentences(" ".join(lead.split()))[:3]
    for number, sentence in enumerate(sentences):
        if not english:
            yield sentence
            return
        text = _INSERTED.sub(" ", _strip_asides(sentence))
        copula = _COPULA.search(text)
        if copula is None or (number and not _SUBJECT.match(text)):
            continue
        yield _cut(text[copula.end() :].strip(), ranks)


def field_of(lead: str) -> str:
    """Return the field that a lead begins with: "In radiology, ..."; "" for none."""
    found = re.match(r"In ([^,.]{1,60}),", lead)
    return found[1] if found else ""


def was_called(lead: str, name: str) -> bool:
    """Return whether a lead gives a name as a former one, or as another one of its subject."""
    return re.search(rf"{_FORMER}[^.;]{{0,40}}?\b{pattern(name)}", lead, re.IGNORECASE) is not None


def is_place(lead: str) -> bool:
    """Return whether a lead tells of one named place: "Orchard is a village in Nebraska"."""
    first = next(iter(split_sentences(" ".join(lead.split()))), "")
    text = _strip_asides(first)
    copula = _COPULA.search(text)
    if copula is None:
        return False
    after = re.search(r"\b(?:in|near)\s+", text[copula.end() :])
    return after is not None and bool(_PLACE.match(text[copula.end() + after.end() :]))


def lists_meanings(text: str) -> bool:
    """Return whether a page only lists what its title may mean."""
    said = (
        r"(?:may|can|could|might|most often)\b.*\b(?:refers?|means?)\b|\bname of (?:two|several)\b"
    )
    lines = text.split("\n")
    return any(line.rstrip().endswith(":") and re.search(said, line) for line in lines)


def category_says(category: str, name: str, ranks: Iterable[str]) -> bool:
    """Return whether a category is of a name: "Noctuidae", "Noctuidae genera", "Moths of Asia".

    The head of the category has to be the name: "Food plants of Noctuidae" is of plants.
    """
    head = _CATEGORY_END.split(_ASIDE.sub("", category) + " ", maxsplit=1)[0].strip()
    words = head.split()
    if len(words) > 1 and any(words[-1].lower()[:3] == rank[:3] for rank in ranks):
        head = " ".join(words[:-1])
    return re.search(rf"(?:^|\s){pattern(name)}$", head, re.IGNORECASE) is not None


def says(text: str, name: str) -> bool:
    """Return whether a text has a name as words of its own, in the singular or the plural."""
    return bool(name) and (
        re.search(rf"(?<!\w){pattern(name)}(?!\w)", text, re.IGNORECASE) is not None
    )


def pattern(name: str) -> str:
    """Return a pattern of a name: any blanks or hyphens between words, singular or plural."""
    words = r"[\s_-]+".join(map(re.escape, name.split()))
    if name.endswith("y"):
        return f"(?:{words}|{words[:-1]}ies)"
    return words if name.endswith("s") else f"{words}(?:s|es)?"


def _strip_asides(text: str) -> str:
    while (less := _ASIDE.sub("", text)) != text:
        text = less
    return text


def _cut(text: str, ranks: Sequence[str]) -> str:
    """Return the beginning of a predicate that says what a thing is."""
    words = [(m.group(), m.start()) for m in _WORD.finditer(text)]
    for i, (word, start) in enumerate(words):
        low = word.lower()
        following = [w.lower() for w, _ in words[i + 1 : i + 5]]
        if _STOPS.fullmatch(low) or word in ";:":
            return text[:start]
        if word == "," and following and _begins_anew(following[0]):
            return text[:start]
        if _LINKS.fullmatch(low) and not _goes_on(low, words[:i], following, ranks):
            return text[:start]
    return text


def _begins_anew(word: str) -> bool:
    return any(words.fullmatch(word) for words in (_ANEW, _STOPS, _LINKS))


def _goes_on(
    link: str, before: Sequence[tuple[str, int]], following: list[str], ranks: Sequence[str]
) -> bool:
    """Return whether a preposition still says what a thing is: "genus of", "in the family"."""
    last = before[-1][0].lower() if before else ""
    if _PLACING.fullmatch(last) or not last:
        return True
    if any(_OTHERS.fullmatch(word.lower()) for word, _ in before):
        return False
    if any(word.endswith(rank.lower()) for word in following[:3] for rank in ranks):
        return True
    if link == "of":
        singular = {last, last.removesuffix("s"), last.removesuffix("es")}
        return any(_KINDS.fullmatch(word) for word in singular) or any(
            last.endswith(rank.lower()) for rank in ranks
        )
    return False
