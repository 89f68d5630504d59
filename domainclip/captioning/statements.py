"""Joins short statements about what can be seen into one grammatical caption."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from domainclip.knowledge.articles import with_article
from domainclip.knowledge.counting import LINKS

Frame: TypeAlias = Literal["with", "showing", "has", "list"]
FRAMES: tuple[Frame, ...] = ("with", "showing", "has", "list")

_NO_ADJECTIVES = LINKS | {"no", "and", "or", "all", "one", "two", "several", "few", "many", "both"}
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|can|may|has|have|had|shows?|bears?|appears?|looks?|resembles?"
    r"|lacks?|differs?|ranges?|varies|vary|forms?|covers?|extends?|becomes?)\b",
    re.IGNORECASE,
)
_HAS = re.compile(
    r"(?:(?:it|they) )?(?:with|has|have|having|shows?|bears?|bearing) ", re.IGNORECASE
)
_LACKS = re.compile(r"(?:(?:it|they) )?(?:lacks?|lacking|without) (?:an? |any )?", re.IGNORECASE)
_RELATIVE = re.compile(r"\b(?:that|which)\b.*")
_DANGLING = re.compile(
    r"(?:and|or|but|of|in|on|at|by|to|from|as|is|are|was|were|be|than|which|that)\b", re.IGNORECASE
)
_COPULA = re.compile(r"(?:the|its|their) (?P<noun>[\w-]+) (?P<verb>is|are) (?P<said>[\w ,-]+)")
_NOT_BEFORE = _NO_ADJECTIVES | frozenset(
    ["a", "an", "the", "absent", "present", "similar", "different", "alike", "variable", "visible"]
)
"""Words that a predicate may have and an adjective before its noun may not."""
_NOUN_PHRASE = re.compile(r"(?:(?P<article>an?) )?(?P<adjectives>(?:[^\s,]+ )+)(?P<head>[^\s,]+)")
_PER_SENTENCE = 4
"""Statements in one sentence of a dense caption."""


@dataclass(frozen=True)
class Statement:
    """One statement as it enters a sentence."""

    text: str
    kind: Literal["part", "look", "clause"]
    """`part` follows "with"; `look` is a kind of the noun ("a round cell"), without its article;
    `clause` has a subject and a verb of its own."""


def read_statement(text: str, noun: str) -> Statement | None:
    """Return how a statement enters a sentence; None for a scrap that fits into none.

    Args:
        text: A statement such as "a black margin", "has no tails" or "the throat is red".
        noun: What the picture shows; "" where that is not known.
    """
    said = _lower_first(" ".join(text.split()).strip(" .;:,"))
    if match := _LACKS.match(said):
        said = f"no {said[match.end() :]}"
    elif match := _HAS.match(said):
        said = said[match.end() :]
    if not said or _DANGLING.match(said) or _is_open(said.split()[-1]):
        return None
    if (match := _COPULA.fullmatch(said)) and not _NOT_BEFORE & set(match["said"].split()):
        said = f"{match['said']} {match['noun']}"  # "the tail is brown" is a brown tail
        said = with_article(said) if match["verb"] == "is" else said
    verb = _VERB.search(_RELATIVE.sub("", said))
    if verb:
        return Statement(said, "clause") if verb.start() else None
    match = _NOUN_PHRASE.fullmatch(said)
    own = noun.split()[-1:] if noun else []
    if match and [match["head"]] == own and not _NO_ADJECTIVES & set(said.split()):
        return Statement(match["adjectives"] + match["head"], "look")
    return Statement(said, "part")


def is_fluent(way: str, standard: str, noun: str) -> bool:
    """Return whether a wording can stand in a sentence where the standard one can.

    Wordings are made for reading, and some are no noun phrases ("tailless", "in focus") or lack
    the article of the standard one ("nucleus in the middle").
    """
    words = way.split()
    statement = read_statement(way, noun)
    if len(words) < 2 or words[0] in LINKS or statement is None or statement.kind == "clause":
        return False
    if statement.kind == "part" and noun and noun.split()[-1] in words[:-1]:
        return False
    bare = words[0] not in ("a", "an", "no", "one") and standard.startswith(("a ", "an "))
    head = _head(way)
    return not (bare and head == _head(standard) and (head[-1:] != "s" or head.endswith("us")))


def join_statements(
    statements: Sequence[Statement],
    *,
    noun: str = "",
    name: str = "",
    form: Literal["line", "sentence", "dense"] = "sentence",
    frame: Frame = "with",
    places: Mapping[str, int] | None = None,
    merge: bool = True,
) -> str:
    """Say statements in one caption.

    Args:
        statements: In the order in which they are said.
        noun: What the picture shows; "" leaves it unsaid.
        name: The label's name; "" leaves it unsaid.
        form: A line without a full stop, a sentence, or a sentence for every few statements.
        frame: How the first sentence is built; without a noun it is a list.
        places: Adjectives that come first (below 0) or last (above 0) among those of one noun.
        merge: Say "triangular yellow wings" for "triangular wings" and "yellow wings".
    """
    looks = [s.text for s in statements if s.kind == "look"]
    parts = [s.text for s in statements if s.kind == "part"]
    clauses = [s.text for s in statements if s.kind == "clause"]
    if merge:
        parts = _merge(parts, places or {})
    head, more = noun, looks[1:]
    if looks:
        head, *more = _merge(looks, places or {}) if merge else looks
    if form == "line" and frame == "has":  # a line has no verb
        frame = "with"
    first = parts[:_PER_SENTENCE] if form == "dense" else parts
    sentences = [_framed(head, [*more, *first], frame, bool(looks))]
    for start in range(_PER_SENTENCE, len(parts) if form == "dense" else 0, _PER_SENTENCE):
        rest = list_words(parts[start : start + _PER_SENTENCE])
        sentences.append(f"it has {rest}" if head else rest)
    sentences = [text for text in [*sentences, *clauses] if text]
    if name and sentences:
        opens = sentences[0]
        if head and frame in ("with", "showing") and opens.startswith(with_article(head)):
            sentences[0] = f"{name}, {opens}"
        elif not head and first:
            sentences[0] = (
                f"{name} with {opens}" if frame in ("with", "has") else f"{name}: {opens}"
            )
        else:
            sentences[0] = f"{name}: {opens}"
    if form == "dense":
        return " ".join(f"{_upper_first(text)}." for text in sentences)
    text = _upper_first("; ".join(sentences))
    return text if form == "line" or not text else f"{text}."


def list_words(items: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def _is_open(word: str) -> bool:
    """Return whether a phrase cannot end with a word."""
    return word.lower() in LINKS | {"a", "an", "the"} or bool(_DANGLING.fullmatch(word))


def _framed(head: str, parts: Sequence[str], frame: Frame, looked: bool) -> str:
    """Return the first sentence, without capital and full stop; "" where it would say nothing."""
    listed = list_words(parts)
    if not head:
        return listed
    if not parts:
        return with_article(head) if looked else ""
    if frame == "has":
        return f"this {head} has {listed}"
    if frame == "list":
        return list_words([with_article(head), *parts]) if looked else listed
    return f"{with_article(head)} {frame} {listed}"


def _merge(phrases: Sequence[str], places: Mapping[str, int]) -> list[str]:
    """Join noun phrases of one noun, where the first of them stands."""
    merged: dict[str, list[str]] = {}
    for phrase in phrases:
        match = _NOUN_PHRASE.fullmatch(phrase)
        fits = match and not _NO_ADJECTIVES & set(phrase.split())
        if match and fits:
            key = f"{'a ' if match['article'] else ''}\0{match['head']}"
            said = match["adjectives"].strip()
            if said not in merged.setdefault(key, []):
                merged[key].append(said)
        else:
            merged[phrase] = []
    said_phrases = []
    for key, adjectives in merged.items():
        article, _, head = key.partition("\0")
        if adjectives:
            adjectives = _unrepeated(adjectives)
            ordered = sorted(adjectives, key=lambda a: places.get(a, places.get(a.split()[-1], 0)))
            phrase = f"{' '.join(ordered)} {head}"
            said_phrases.append(with_article(phrase) if article else phrase)
        else:
            said_phrases.append(key)
    return said_phrases


def _unrepeated(adjectives: Sequence[str]) -> list[str]:
    """Leave out words that stand in another phrase too: "blue" beside "shiny blue"."""
    said: set[str] = set()
    kept: dict[int, str] = {}
    for i in sorted(range(len(adjectives)), key=lambda i: -len(adjectives[i].split())):
        words = [word for word in adjectives[i].split() if word not in said]
        if words:
            kept[i] = " ".join(words)
            said.update(words)
    return [kept[i] for i in sorted(kept)]


def _head(phrase: str) -> str:
    """Return the noun of a noun phrase: the word before "of", "in" and the like, else the last."""
    words = phrase.split()
    place = next((i for i, word in enumerate(words) if i and word in LINKS), len(words))
    return words[place - 1]


def _lower_first(text: str) -> str:
    """Lower the first letter, unless its word is an abbreviation."""
    first = text.split(" ", 1)[0]
    return text if first[1:] != first[1:].lower() else text[:1].lower() + text[1:]


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
