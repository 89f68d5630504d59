"""Swaps one trait that a caption claims for another value of the same trait."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domainclip.domains.contract import TraitWords
from domainclip.knowledge.articles import with_article
from domainclip.knowledge.lexicon import Claim, Lexicon
from domainclip.knowledge.wordings import PLACE, Words, key_of

_ARTICLE = re.compile(r"(an?|the) ", re.IGNORECASE)
_BEFORE = re.compile(r"(?:^|[.,;:!?]|\b(?:and|or|with|has|have|showing|shows))\s*$", re.IGNORECASE)
_NEXT = re.compile(r"\s*(?:$|[.,;:!?)]|(?:and|in|on|under|against)\b)", re.IGNORECASE)
"""What may stand around a noun phrase that is put in the place of one with another noun."""
_WORD = re.compile(r"[a-z]+")

_BASIC = "black white red green yellow blue brown orange pink purple grey"
COLOURS = tuple(_BASIC.split())
_ALIKE = (
    {"red", "orange", "brown", "pink"}, {"yellow", "orange"}, {"purple", "pink"},
    {"purple", "blue"}, {"blue", "green"}, {"grey", "white"}, {"grey", "black"},
    {"grey", "brown"}, {"black", "brown"},
)  # fmt: skip
"""Colours that one and the same thing may be called."""
_TONES = frozenset({"dark", "light", "pale", "bright", "deep"})
_UNTONED = frozenset({"black", "white"})
OPPOSITES = (
    ("large", "small"), ("big", "small"), ("long", "short"), ("wide", "narrow"),
    ("broad", "narrow"), ("thick", "thin"), ("smooth", "rough"), ("straight", "curved"),
    ("dark", "pale"), ("tall", "low"), ("pointed", "blunt"),
)  # fmt: skip
_OPPOSITE = {one: other for pair in OPPOSITES for one, other in (pair[::-1], pair)}


@dataclass(frozen=True)
class Swap:
    """New words for a stretch of a caption, `text[start:end]`, that make it wrong."""

    start: int
    end: int
    said: str
    trait: str = ""
    value: str = ""
    """The trait and value that the new words claim, where they are in the field's words."""


@dataclass(frozen=True)
class _Way:
    """A way to say a value, without its article."""

    value: str
    article: str
    text: str
    key: Words
    places: tuple[str, ...]

    @property
    def noun(self) -> str:
        return self.text.rpartition(" ")[2]

    @property
    def is_absence(self) -> bool:
        return self.key[0] == "no"


class TraitSwaps:
    """Finds what may be swapped in captions, by the words of a field.

    Args:
        lexicon: The words, ready to read by.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._ways = _read_ways(lexicon.words)
        ways = (way for values in self._ways.values() for said in values.values() for way in said)
        self._fillings = {place for way in ways for place in way.places}

    def find(self, text: str, claims: Sequence[Claim]) -> list[list[Swap]]:
        """Return the swaps of each claim that has some.

        Args:
            text: A caption.
            claims: What it claims, by the lexicon.
        """
        found = []
        for claim in claims:
            if claim.negated:
                continue
            swaps = self._exact if claim.trait in self._ways else _loose
            if options := list(swaps(text, claim, claims)):
                found.append(options)
        return found

    def _exact(self, text: str, claim: Claim, claims: Sequence[Claim]) -> Iterator[Swap]:
        """Yield swaps of a claim that a wording of the field makes."""
        start, end = claim.start, claim.end
        key = key_of(text[start:end])
        phrase = key_of(text[claim.phrase[0] : claim.phrase[1]])
        fillings = {c.trait: c.value for c in claims if start <= c.start and c.end <= end}
        true = {c.value for c in claims if c.trait == claim.trait and not c.negated}
        own = self._ways[claim.trait].get(claim.value, [])
        while key:
            whole = next((w for w in own if _filled(w, fillings)[1] == key), None)
            nouns = {w.key[-1] for w in own if w.key[:-1] == key and w.key[-1] in phrase}
            fills = claim.trait in self._fillings and key == key_of(claim.value)
            if whole or nouns or fills:
                break
            key = key[1:]  # a word of degree before it: "very large"
        else:
            return
        if whole is None and "of" in key:  # the article of "a thin rim of" goes too
            article = re.search(r"(?<!\w)an? $", text[:start], re.IGNORECASE)
            start = article.start() if article else start
        for value, ways in self._ways[claim.trait].items():
            if value not in true:
                if whole is not None:
                    said = _whole(text, claim, whole, ways, fillings)
                elif nouns:
                    said = _adjective(text, claim, key, [w for w in ways if w.key[-1] in nouns])
                else:
                    said = "" if any(way.is_absence for way in ways) else value
                if said:
                    yield Swap(start, end, _articled(said), claim.trait, value)


def _whole(
    text: str, claim: Claim, own: _Way, ways: Sequence[_Way], fillings: dict[str, str]
) -> str:
    """Say another value in the place of a whole wording, "" where it would not read well."""
    article = _article_of(text, claim)
    key = _filled(own, fillings)[1]
    said = [(way, *_filled(way, fillings)) for way in ways]
    said = [one for one in said if one[2] and not {*one[2]} <= {*key}]
    noun = text[claim.start : claim.end].lower().rpartition(" ")[2]
    for way, words, _ in said:
        if way.noun == noun and not way.is_absence:
            if own.key[0] in ("no", "one") or noun.endswith("s"):
                article = way.article
            return f"{'' if way.key[0] == 'one' else article} {words}".strip()
    if article == "the" or not _stands_free(text, claim) or not _NEXT.match(text, claim.end):
        return ""
    there = {*key_of(text)}
    free = (
        f"{w.article} {words}" for w, words, _ in said if w.is_absence or w.key[-1] not in there
    )
    return next(free, "").strip()


def _adjective(text: str, claim: Claim, key: Words, ways: Sequence[_Way]) -> str:
    """Say another value in the place of an adjective, "" where no way has one for the noun."""
    article = _article_of(text, claim)
    for way in ways:
        adjectives = way.key[:-1]
        if way.places or way.is_absence or " " not in way.text or {*adjectives} <= {*key}:
            continue
        said = way.text.rpartition(" ")[0]
        if "of" not in adjectives:
            return f"{'' if 'of' in key else article} {said}".strip()
        if "of" in key or _stands_free(text, claim):
            return f"{way.article} {said}".strip()  # "a thin rim of"
    return ""


def _article_of(text: str, claim: Claim) -> str:
    match = _ARTICLE.match(text, claim.start, claim.end)
    return match[1].lower() if match else ""


def _stands_free(text: str, claim: Claim) -> bool:
    """Return whether no adjective or article stands before a claim."""
    return bool(_BEFORE.search(text[: claim.start]))


def put(text: str, swap: Swap) -> str:
    """Return a caption with new words in it; an article before them is mended."""
    before, said = text[: swap.start], swap.said
    if text[swap.start : swap.start + 1].isupper():
        said = said[:1].upper() + said[1:]
    if match := re.search(r"(?<!\w)(a)n?( )$", before, re.IGNORECASE):
        article = with_article(said).partition(" ")[0]
        before = before[: match.start()] + match[1] + article[1:] + " "
    after = text[swap.end :]
    return before.rstrip() + after if not said and after[:1] in ".,;" else before + said + after


def _read_ways(words: TraitWords) -> dict[str, dict[str, list[_Way]]]:
    return {
        trait: {value: [_way(value, way) for way in ways] for value, ways in values.items()}
        for trait, values in words.phrases.items()
    }


def _way(value: str, said: str) -> _Way:
    match = _ARTICLE.match(said)
    text = said[match.end() :] if match else said
    places = tuple(PLACE.findall(said))
    return _Way(value, match[1] if match else "", text, key_of(PLACE.sub("x", text)), places)


def _filled(way: _Way, fillings: dict[str, str]) -> tuple[str, Words]:
    """Return a way's words with its places filled in, and their key; empty without a filling."""
    if not way.places:
        return way.text, way.key
    if any(place not in fillings for place in way.places):
        return "", ()
    text = PLACE.sub(lambda place: fillings[place[1]], way.text)
    return text, key_of(text)


def _articled(said: str) -> str:
    """Mend the article that words begin with."""
    article, _, rest = said.partition(" ")
    return with_article(rest) if article in ("a", "an") and rest else said


def _loose(text: str, claim: Claim, claims: Sequence[Claim]) -> Iterator[Swap]:
    """Yield swaps of a quality that no wording of the field says: plain colours and opposites."""
    words = [(m.group(), m.span()) for m in _WORD.finditer(claim.value)]
    colours = [word for word, _ in words if word in COLOURS]
    true = {c.value for c in claims if c.trait == claim.trait}
    said = text[claim.start : claim.end].lower()
    if len(colours) == 1:
        (word,) = colours
        toned = any(tone in said for tone in _TONES)
        others = [
            c for c in COLOURS
            if not any({c, word} <= group for group in _ALIKE) and not (toned and c in _UNTONED)
        ]  # fmt: skip
    else:
        word = claim.value
        others = [_OPPOSITE[word]] if word in _OPPOSITE else []
    found = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", said)
    if not found:
        return
    start = claim.start + found.start()
    for other in others:
        if other != word and not any(other in value for value in true):
            yield Swap(start, start + len(word), other, claim.trait, other)
