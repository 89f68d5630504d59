"""The words of a field, entered so that a text can be looked up in them word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from domainclip.domains.contract import TraitWords

from .tokens import read_tokens

Words: TypeAlias = tuple[str, ...]

PLACE = re.compile(r"\{([^{}]+)\}")
_LONGEST_PART = 3
_ABSENCES = (
    "no {}", "without {}", "without any {}", "without visible {}", "no visible {}",
    "no obvious {}", "no apparent {}", "lacks {}", "lacks any {}", "lacking {}", "{} absent",
    "{} are absent", "{} is absent", "absence of {}", "devoid of {}", "free of {}", "not any {}",
)  # fmt: skip
"""The ways to say that something is not there; a field gives the first alone."""
_LINKS = """
about above across against along among around as at before behind below beneath beside between
beyond by during for from in inside into near of off on onto over than through toward under upon
while with within
"""
LINKS = frozenset(_LINKS.split())


@dataclass(frozen=True)
class Said:
    """What a wording says: a trait, its value, and which words of the wording say it."""

    trait: str
    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Entry:
    """A wording, or a noun that wordings end in, as it is found in a text."""

    said: tuple[Said, ...] = ()
    part: str = ""
    """The part that its last words name."""
    chains: bool = True
    """Whether more adjectives may stand before it: "plain" before "orange wings"."""
    absent: bool = False


class Wordings:
    """All wordings of a field.

    Args:
        words: The field's words, as its plug gives them.

    Raises:
        ValueError: A wording has a place for a trait that does not exist.
    """

    def __init__(self, words: TraitWords) -> None:
        self.words = words
        self.parts = {key_of(said): part for part, ways in words.parts.items() for said in ways}
        self.qualities: dict[Words, tuple[str, str]] = {}
        self.adjectives: dict[str, dict[Words, tuple[tuple[str, str], ...]]] = {}
        """Noun -> words before it -> the traits that they say of it."""
        self.absences: dict[Words, tuple[Said, ...]] = {}
        """What may be absent, without its "no"."""
        self._trie: dict[str, Any] = {}
        for kind, ways in words.qualities.items():
            for way in ways:
                self.qualities.setdefault(key_of(way), (kind, way))
        for key, part in self.parts.items():
            self._put(key, Entry(part=part))
        for trait, values in words.phrases.items():
            for value, ways in values.items():
                for way in ways:
                    for text, inner in self._filled(way):
                        self._enter(trait, value, text, inner)
        self.subjects = {
            noun
            for noun, known in self.adjectives.items()
            if len({trait for said in known.values() for trait, _ in said}) > 1
        }
        """Nouns of which wordings say more than one trait: they stay where an adjective falls."""
        adjectives = (key for known in self.adjectives.values() for key in known)
        self.reach = max(map(len, [*adjectives, *self.qualities, ("",)]))
        """Words that the longest adjective has."""

    def longest(self, words: Sequence[str], glued: Sequence[bool], i: int) -> tuple[Entry, int]:
        """Return the longest wording that begins at a word, and where it ends (`i` for none)."""
        best, end = _NONE, i
        if glued[i]:
            return best, end
        node = self._trie
        for j in range(i, len(words)):
            if words[j] not in node:
                break
            node = node[words[j]]
            if "" in node and not glued[j + 1] and (j == i or self.part_at(words, j) < 2):
                best, end = node[""], j + 1  # "red wing" is not said by "red wing tips"
        return best, end

    def part_at(self, words: Sequence[str], i: int) -> int:
        """Return how many words from `i` on name a part, 0 for none."""
        for n in range(min(_LONGEST_PART, len(words) - i), 0, -1):
            if tuple(words[i : i + n]) in self.parts:
                return n
        return 0

    def can_fill(self, trait: str, value: str) -> bool:
        """Return whether a value can stand in a place of a wording: "none" cannot."""
        ways = self.words.phrases.get(trait, {}).get(value)
        return ways is not None and not any(key_of(way)[:1] == ("no",) for way in ways)

    def _filled(self, way: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield a wording with its places filled in by every value: text and (trait, value)s."""
        match = PLACE.search(way)
        if not match:
            yield way, []
            return
        trait = match.group(1)
        if trait not in self.words.phrases:
            raise ValueError(f"the wording {way!r} has a place for {trait!r}, which is no trait")
        for value in self.words.phrases[trait]:
            if self.can_fill(trait, value):
                for text, inner in self._filled(way.replace(match.group(), value)):
                    yield text, [(trait, value), *inner]

    def _enter(self, trait: str, value: str, way: str, inner: list[tuple[str, str]]) -> None:
        """Enter one wording: whole, in its negative forms, and as adjectives of its noun."""
        key = key_of(way)
        if key[0] == "no":
            things = " ".join(key[1:])
            self.absences[key[1:]] = (Said(trait, value, 0, len(key) - 1),)
            for wording in _ABSENCES:
                other = key_of(wording.format(things))
                whole = (Said(trait, value, 0, len(other)),)
                self._put(other, Entry(whole, chains=False, absent=True))
            return
        said = [Said(trait, value, 0, len(key))]
        for other_trait, filling in inner:
            words = key_of(filling)
            at = next(i for i in range(len(key)) if key[i : i + len(words)] == words)
            said.append(Said(other_trait, filling, at, at + len(words)))
        part = next((self.parts[key[i:]] for i in range(len(key)) if key[i:] in self.parts), "")
        linked = any(word in LINKS for word in key[:-1])
        self._put(key, Entry(tuple(said), part=part, chains=not linked))
        if len(key) > 1 and not inner:
            known = self.adjectives.setdefault(key[-1], {})
            known[key[:-1]] = (*known.get(key[:-1], ()), (trait, value))
            self._put(key[-1:], Entry(part=self.parts.get(key[-1:], "")))

    def _put(self, key: Words, entry: Entry) -> None:
        """Enter a wording; one that says something wins over one that only names."""
        node = self._trie
        for word in key:
            node = node.setdefault(word, {})
        old = node.get("")
        if old is None:
            node[""] = entry
        elif entry.said and entry.said != old.said:
            merged = (*old.said, *(said for said in entry.said if said not in old.said))
            node[""] = replace(entry, said=merged)


_NONE = Entry()


def key_of(text: str) -> Words:
    """Return the words of a wording as they are compared."""
    return tuple(read_tokens(text).words)
