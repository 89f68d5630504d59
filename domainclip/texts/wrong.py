"""Captions that are wrong by one thing: a trait, a number or a negation of a right one, swapped.

A model that sees them beside the right caption learns what each word says, not only which words
there are: NegCLIP (arXiv:2210.01936), DesCo (arXiv:2306.14060), TripletCLIP (arXiv:2411.02545);
for negations NegBench (arXiv:2501.09425).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import TypeAlias

from domainclip.domains.contract import Traits, TraitWords
from domainclip.knowledge.lexicon import Lexicon

from .counts import find_counts, find_negations
from .swaps import Swap, TraitSwaps, put

Said: TypeAlias = tuple[str, str]
"""A trait and its value."""

KEPT = 2**17
"""Captions of which what was read stays in memory."""


class WrongCaptions:
    """Makes wrong captions out of right ones.

    Args:
        lexicon: The words of the field; without them only numbers and negations are swapped.
    """

    def __init__(self, lexicon: Lexicon | None) -> None:
        self._lexicon = lexicon
        self._traits = None if lexicon is None else TraitSwaps(lexicon)
        self._deniable = frozenset[Said]() if lexicon is None else _deniable(lexicon.words)
        self._truth = lru_cache(maxsize=KEPT)(self._read_claims)
        self._places = lru_cache(maxsize=KEPT)(self._find)

    def draw(
        self,
        caption: str,
        n: int,
        rng: Random,
        *,
        right: Sequence[str] = (),
        own: Traits | None = None,
        likely: Mapping[str, Collection[str]] | None = None,
    ) -> list[str]:
        """Draw wrong captions, no two alike; fewer where fewer can be made.

        Args:
            caption: A right one.
            n: How many.
            rng: Draws what is swapped.
            right: All captions of the picture: what they say is never said as wrong.
            own: Traits that are known of its label.
            likely: Values of each trait that labels like it have; taken where there are any.
        """
        places = self._places(caption)
        truth, own = self._truth(tuple(right)), own or {}
        taken = {_plain(text) for text in (caption, *right)}
        likely = likely or {}
        order = rng.sample(places, len(places))
        found: list[str] = []
        for place in (*order, *order):  # two swaps of one place where there are too few places
            if len(found) == n:
                break
            options = [
                s for s in place
                if not (s.trait and own.get(s.trait) == s.value) and (s.trait, s.value) not in truth
            ]  # fmt: skip
            near = [s for s in options if s.value in likely.get(s.trait, ())]
            at = rng.random()
            for swap in _from(near, at) + _from(options, at):
                text = put(caption, swap)
                if _plain(text) not in taken:
                    taken.add(_plain(text))
                    found.append(text)
                    break
        return found

    def _find(self, caption: str) -> tuple[tuple[Swap, ...], ...]:
        """Return the swaps of each place of a caption."""
        lexicon = self._lexicon
        claims = () if lexicon is None else lexicon.claims(caption)
        places = find_counts(caption)
        places += find_negations(caption, lexicon, claims, self._deniable)
        places += [] if self._traits is None else self._traits.find(caption, claims)
        return tuple(tuple(options) for options in places)

    def _read_claims(self, captions: tuple[str, ...]) -> frozenset[Said]:
        """Return what captions say to be so."""
        claims = () if self._lexicon is None else map(self._lexicon.claims, captions)
        return frozenset((c.trait, c.value) for said in claims for c in said if not c.negated)


def _deniable(words: TraitWords) -> frozenset[Said]:
    """Return the values of traits that can be absent ("no tails"), but for that of absence."""
    found: set[Said] = set()
    for trait, values in words.phrases.items():
        there = {v for v, ways in values.items() if not any(way.startswith("no ") for way in ways)}
        found |= {(trait, value) for value in there if len(there) < len(values)}
    return frozenset(found)


def _from(swaps: list[Swap], at: float) -> list[Swap]:
    """Return the swaps in a ring, from a place in it on."""
    first = int(at * len(swaps))
    return swaps[first:] + swaps[:first]


@lru_cache(maxsize=KEPT)
def _plain(text: str) -> str:
    return text.casefold().rstrip(". ")
