"""Reads the claims of one text: whole wordings first, then adjectives of their nouns and parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .tokens import Tokens
from .wordings import LINKS, Entry, Wordings

Spot: TypeAlias = tuple[str, str, int, int]
"""Trait, value, first word and the word after the last."""

_NO = (
    "no not without lack lacking never neither nor cannot doesn't don't isn't aren't hasn't haven't"
)
_NEGATORS = frozenset(_NO.split())
_COPULAS = frozenset({"is", "are", "was", "were", "appear", "look", "seem"})
_VERY = """
also almost bright brightly clearly completely dark deep deeply distinctly dull entirely fairly
faintly finely generally heavily largely light mainly more mostly narrowly often pale predominantly
quite rather rich richly sharply slightly somewhat strongly typically uniformly usually very vivid
weakly wholly
"""
_DEGREES = frozenset(_VERY.split())
_ENDINGS = {"shaped": "shape", "like": "shape", "coloured": "colour", "sized": "size"}
"""Second half of a compound -> kind of quality, in fields that have the kind."""
_WHOLLY = frozenset({"all", "jet", "pure", "snow"})
_JOINERS = frozenset({",", "and", "or", "nor", "/", "&", "to"})
_ENDS = LINKS - {"of"} | frozenset(",.;:()!?") | {"and", "but"}
"""Words and points that a "no" does not reach beyond."""
_REACH = 6


@dataclass(frozen=True)
class Claim:
    """A trait that a text says a picture shows, `text[start:end]` being the words that say it.

    In a noun phrase that makes several claims ("rounded orange wings") each has its own word;
    a phrase that makes only one ("an orange wing") is all of it the claim's words.
    """

    trait: str
    value: str
    start: int
    end: int
    text: str
    negated: bool = False
    """Whether the text says that this is not so ("no long tails")."""
    phrase: tuple[int, int] = (0, 0)
    """The noun phrase that the claim stands in; where all its claims fall, it has to go whole."""


def read_claims(wordings: Wordings, tokens: Tokens) -> list[Claim]:
    """Return the claims of a text, in its order; a claim within another comes after it."""
    words, glued = tokens.words, tokens.glued
    found: list[Claim] = []
    i = taken = 0
    while i < len(words):
        entry, j = wordings.longest(words, glued, i)
        if j == i:
            i += 1
            continue
        left, right, group = _read_phrase(wordings, tokens, entry, i, j, taken)
        if entry.absent:
            listed, right = _more_absent(wordings, tokens, right)
            group += listed
        if group:
            found += _claims(tokens, entry, group, left, right)
            taken = right
        i = max(right, j)
    return found


def is_negated(tokens: Tokens, i: int) -> bool:
    """Return whether a "no" or "without" before a word reaches it."""
    for word in tokens.words[max(0, i - _REACH) : i][::-1]:
        if word in _NEGATORS:
            return True
        if word in _ENDS:
            return False
    return False


def _read_phrase(
    wordings: Wordings, tokens: Tokens, entry: Entry, i: int, j: int, taken: int
) -> tuple[int, int, list[Spot]]:
    """Read a noun phrase around a wording or noun: its first word, its end, what it says."""
    group = [(said.trait, said.value, i + said.start, i + said.end) for said in entry.said]
    if entry.absent:
        return i, j, group
    head = tokens.words[j - 1]
    adjectival = entry.chains and j - i > 1 and all(spot[2:] == (i, j) for spot in group)
    if adjectival and group:
        alone, _ = wordings.longest(tokens.words, tokens.glued, j - 1)
        group += [(said.trait, said.value, j - 1, j) for said in alone.said if said.end == 1]
    left = i
    if adjectival and group:
        left = _before_degrees(tokens, i, taken)
        group = [(t, v, left if a == i else a, b) for t, v, a, b in group]
    if entry.chains:
        left = _read_left(wordings, tokens, entry.part, head, left, taken, group)
    right = _read_right(wordings, tokens, entry.part, head, j, group)
    several = len({spot[2:] for spot in group}) > 1
    if adjectival and (several or (not entry.part and head in wordings.subjects)):
        group = [(t, v, a, b - 1 if a < j - 1 and b == j else b) for t, v, a, b in group]
    return left, right, sorted(group, key=lambda spot: (spot[2], -spot[3]))


def _read_left(
    wordings: Wordings,
    tokens: Tokens,
    part: str,
    head: str,
    start: int,
    taken: int,
    group: list[Spot],
) -> int:
    """Read the adjectives before a noun; returns where its phrase begins."""
    words = tokens.words
    left = p = start
    while p > taken and tokens.articles[p] < 0:
        size, said, linked = _adjective_before(wordings, tokens, part, head, p, taken)
        if size:
            first = _before_degrees(tokens, p - size, taken)
            group += [(trait, value, first, p) for trait, value in said]
            left = p = first
            if linked:
                break
        elif words[p - 1] in _JOINERS or words[p - 1] in _DEGREES:
            p -= 1
        else:
            break
    return left


def _before_degrees(tokens: Tokens, i: int, taken: int) -> int:
    """Return where the words of degree before an adjective begin: "very" of "very large"."""
    while i > taken and tokens.words[i - 1] in _DEGREES and not tokens.glued[i]:
        if tokens.articles[i] >= 0:
            break
        i -= 1
    return i


def _read_right(
    wordings: Wordings, tokens: Tokens, part: str, head: str, end: int, group: list[Spot]
) -> int:
    """Read what a noun is said to be ("the wings are orange"); returns where its phrase ends."""
    words, n = tokens.words, len(tokens)
    verb = end + 1 if end < n and words[end] in ("that", "which") else end
    if verb >= n or words[verb] not in _COPULAS:
        return end
    right, q = end, verb + 1
    first = True
    while q < n:
        size, said = _adjective_after(wordings, tokens, part, head, q)
        noun = q + size < n and wordings.longest(words, tokens.glued, q + size)[1] > q + size
        if size and (first or not noun):
            start = q
            while start - 1 > right and words[start - 1] in _DEGREES:
                start -= 1
            q += size
            group += [(trait, value, start, q) for trait, value in said]
            right, first = q, False
        elif words[q] in _JOINERS or words[q] in _DEGREES or (first and words[q] == "not"):
            q += 1
        else:
            break
    return right


def _adjective_before(
    wordings: Wordings, tokens: Tokens, part: str, head: str, p: int, taken: int
) -> tuple[int, tuple[tuple[str, str], ...], bool]:
    """Return the size of the adjective that ends before a word, what it says, if it has an "of"."""
    known = wordings.adjectives.get(head, {})
    if tokens.glued[p]:
        return 0, (), False
    for size in range(min(wordings.reach, p - taken), 0, -1):
        key = tuple(tokens.words[p - size : p])
        if tokens.glued[p - size]:
            continue
        if said := known.get(key):
            return size, said, any(word in LINKS for word in key)
        if part and key in wordings.qualities:
            kind, value = wordings.qualities[key]
            return size, ((f"{part} {kind}", value),), False
        if part and size == 2 and (blend := _blend(wordings, tokens, p - 2)):
            return 2, ((f"{part} {blend[0]}", blend[1]),), False
    return 0, (), False


def _adjective_after(
    wordings: Wordings, tokens: Tokens, part: str, head: str, q: int
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Return the size of the adjective that begins at word `q`, and what it says."""
    known = wordings.adjectives.get(head, {})
    if tokens.glued[q]:
        return 0, ()
    for size in range(min(wordings.reach, len(tokens) - q), 0, -1):
        key = tuple(tokens.words[q : q + size])
        if tokens.glued[q + size]:
            continue
        if said := known.get(key):
            return size, said
        if part and key in wordings.qualities:
            kind, value = wordings.qualities[key]
            return size, ((f"{part} {kind}", value),)
        if part and size == 2 and (blend := _blend(wordings, tokens, q)):
            return 2, ((f"{part} {blend[0]}", blend[1]),)
    return 0, ()


def _blend(wordings: Wordings, tokens: Tokens, i: int) -> tuple[str, str] | None:
    """Return kind and value of two words under a hyphen: "yellow-brown", "bell-shaped"."""
    if not tokens.glued[i + 1]:
        return None
    first, second = tokens.words[i : i + 2]
    if (kind := _ENDINGS.get(second)) in wordings.words.qualities:
        return str(kind), f"{first}-{second}"
    one, other = wordings.qualities.get((first,)), wordings.qualities.get((second,))
    if other and first in _WHOLLY:
        return other
    if one and other and one[0] == other[0]:
        return one[0], f"{one[1]}-{other[1]}"
    return None


def _more_absent(wordings: Wordings, tokens: Tokens, j: int) -> tuple[list[Spot], int]:
    """Read what else is absent: "or granules" after "no nucleus", "buildings or trees" too."""
    words = tokens.words
    listed: list[Spot] = []
    at, end = j, j
    while at < len(words) and words[at] in (",", "or", "nor"):
        last = words[at] in ("or", "nor")
        at += 1
        if not last and at < len(words) and words[at] in ("or", "nor"):
            last, at = True, at + 1
        sizes = (n for n in (3, 2, 1) if at + n <= len(words))
        size = next((n for n in sizes if tuple(words[at : at + n]) in wordings.absences), 0)
        if not size:
            break
        for said in wordings.absences[tuple(words[at : at + size])]:
            listed.append((said.trait, said.value, at, at + size))
        at += size
        if last:
            end = at
    # a list without its "or" is no list: "no water, trees in rows"
    return [spot for spot in listed if spot[3] <= end], end


def _claims(tokens: Tokens, entry: Entry, group: list[Spot], left: int, right: int) -> list[Claim]:
    """Turn what a phrase says into claims with their places in the text."""
    negated = not entry.absent and (is_negated(tokens, left) or "not" in tokens.words[left:right])
    begin = tokens.articles[left] if tokens.articles[left] >= 0 else tokens.starts[left]
    phrase = (begin, tokens.ends[right - 1])
    alone = entry.part != "" and len({spot[2:] for spot in group}) == 1
    claims = []
    for trait, value, a, b in group:
        start, end = tokens.starts[a], tokens.ends[b - 1]
        if alone or (a, b) == (left, right):
            start, end = phrase
        said = tokens.text[start:end]
        claims.append(Claim(trait, value, start, end, said, negated, phrase))
    return claims
