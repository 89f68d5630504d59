"""Reads what a text claims to be visible, by the words of a field, and says traits in them.

A text is read word by word. Whole wordings ("a row of eyespots on the hindwings") count first, the
longest one wins. A wording that ends in a noun lends its other words to noun phrases: "orange
wings" and "rounded wings" also read "rounded, orange wings" and "the wings are orange". Where no
wording fits, a quality that stands beside a part is read as such: "green legs" is the leg colour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from domainclip.domains.contract import Traits, TraitWords
from domainclip.domains.labels import LabelTree

from .reading import Claim, is_negated, read_claims
from .tokens import Tokens, read_tokens
from .wordings import PLACE, Wordings, Words, key_of

__all__ = ["Claim", "Lexicon"]

_NEAR = 4
"""Words between a quality and a part that may still be about each other."""
_BREAKS = frozenset(",.;:()!?")
_HIDDEN_WEIGHT = 1.5
_UNIT = re.compile(r"\d\s*(?:[cmkµμn]?m|ft|feet|inch(?:es)?|in|kg|m?g|ha|acres?|km2|°c)\b", re.I)
_SOME = """
may might occasional occasionally often rarely seldom some sometimes variable variably varies vary
varying
"""
"""Words of sentences that do not hold for all, in any field."""
_STAY = """
feed feeding land landed lie lying perch perched perching pose posed rest resting settle settled sit
sitting stand standing visit visiting
"""
_SETTLES = frozenset(_STAY.split())
"""Verbs of being somewhere: what follows "resting on" is no part of what rests."""


class Lexicon:
    """The words of a field, ready to read texts by and to say traits in.

    Args:
        words: The field's words, as its plug gives them.

    Raises:
        ValueError: A wording has a place for a trait that does not exist.
    """

    def __init__(self, words: TraitWords) -> None:
        self.words = words
        self._wordings = Wordings(words)
        self._hidden = {key_of(word) for word in words.hidden}
        self._hidden_reach = max(map(len, self._hidden), default=0)
        self._some = {key_of(word) for word in (*_SOME.split(), *words.some)}
        self._some_reach = max(map(len, self._some))

    def claims(self, text: str) -> tuple[Claim, ...]:
        """Return what a text claims, in the order of the text.

        One claim within another ("black" in "a broad black band") comes after it. The trait of a
        claim that no wording covers is part and kind of quality: "leg colour".
        """
        return tuple(read_claims(self._wordings, read_tokens(text)))

    def mentions(self, text: str) -> tuple[Claim, ...]:
        """Return the parts that a text names, as claims: `trait` is the part, `value` its word.

        What something rests or feeds on is left out: a flower under it is no part of it.
        """
        tokens = read_tokens(text)
        found = []
        i = 0
        while i < len(tokens):
            n = self._wordings.part_at(tokens.words, i)
            if n and not _is_place(tokens.words, i):
                part = self._wordings.parts[tuple(tokens.words[i : i + n])]
                start, end = tokens.starts[i], tokens.ends[i + n - 1]
                said, negated = text[start:end], is_negated(tokens, i)
                found.append(Claim(part, said.lower(), start, end, said, negated, (start, end)))
            i += n or 1
        return tuple(found)

    def parts(self, text: str) -> set[str]:
        """Return the parts that a text names."""
        return {claim.trait for claim in self.mentions(text)}

    def foreign_parts(
        self, lineage: Sequence[str], tree: LabelTree | None = None
    ) -> dict[str, tuple[str, ...]]:
        """Return the parts that a label cannot have, each with the groups that can.

        A part is judged only where it is known that the label is in none of its groups: its lineage
        names some group of `TraitWords.only`, or the tree has a group of the part elsewhere and the
        lineage names another one at its rank. A bare name may be anything.

        Args:
            lineage: The label's names, coarsest first.
            tree: The tree that it is of.
        """
        names = {name.lower() for name in lineage}
        only = self.words.only
        placed = any(group.lower() in names for groups in only.values() for group in groups)
        return {
            part: groups
            for part, groups in only.items()
            if not any(group.lower() in names for group in groups)
            and (placed or (tree is not None and any(_is_beside(lineage, g, tree) for g in groups)))
        }

    def say(self, traits: Traits) -> dict[str, str]:
        """Say traits in their standard wordings.

        Args:
            traits: Values by trait, such as `{"pattern": "banded", "marking colour": "black"}`.

        Returns:
            Trait -> wording; traits without one are left out. A wording that says two traits stands
            under the one it belongs to ("pattern": "a broad black band").
        """
        said: dict[str, str] = {}
        covered: set[str] = set()
        for trait, value in traits.items():
            for way in self.words.phrases.get(trait, {}).get(value, ()):
                places = PLACE.findall(way)
                if all(self._wordings.can_fill(p, traits.get(p, "")) for p in places):
                    said[trait] = PLACE.sub(lambda place: traits[place.group(1)], way)
                    covered.update(places)
                    break
        return {trait: text for trait, text in said.items() if trait not in covered}

    def is_visual(self, sentence: str) -> float:
        """Score a sentence: above 0, it says what can be seen more than anything else.

        Qualities that stand close to a part count for it, words of what no picture shows and
        measures count against it.
        """
        tokens = read_tokens(sentence)
        seen = max(self._pairs(tokens), len(read_claims(self._wordings, tokens)))
        hidden = self._count_hidden(tokens.words) + len(_UNIT.findall(sentence))
        return float(seen - _HIDDEN_WEIGHT * hidden)

    def is_limited(self, sentence: str) -> bool:
        """Return whether a sentence speaks of some individuals only: one sex, an age, "may be"."""
        words = read_tokens(sentence).words
        return any(
            _is_at(words, i, n, self._some)
            for i in range(len(words))
            for n in range(1, self._some_reach + 1)
        )

    def _pairs(self, tokens: Tokens) -> int:
        """Count the qualities with a part within a few words of them, in one clause."""
        words = tokens.words
        parts = [i for i in range(len(words)) if self._wordings.part_at(words, i)]
        return sum(
            any(
                abs(i - p) <= _NEAR and not _BREAKS & set(words[min(i, p) : max(i, p)])
                for p in parts
            )
            for i in range(len(words))
            if any(tuple(words[i : i + n]) in self._wordings.qualities for n in (1, 2))
        )

    def _count_hidden(self, words: list[str]) -> int:
        return sum(
            any(_is_at(words, i, n, self._hidden) for n in range(1, self._hidden_reach + 1))
            for i in range(len(words))
        )


def _is_beside(lineage: Sequence[str], group: str, tree: LabelTree) -> bool:
    """Return whether a lineage names, above its label, something at the rank of a tree's group."""
    return any(
        tree.rank[node] < len(lineage) - 1 and lineage[tree.rank[node]] for node in tree.find(group)
    )


def _is_at(words: list[str], i: int, n: int, known: set[Words]) -> bool:
    return tuple(words[i : i + n]) in known


def _is_place(words: list[str], i: int) -> bool:
    """Return whether "resting on" or the like stands within four words before."""
    before = words[max(0, i - 4) : i]
    return not _BREAKS & set(before) and bool(_SETTLES & set(before))
