"""Visible traits of a label: short statements out of its texts, or said from its shipped sheet."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache

from domainclip.domains.contract import Domain, Traits, TraitWords
from domainclip.domains.labels import LabelTree

from .lexicon import Lexicon
from .records import SHEET, Trait
from .samples import SOURCES
from .sentences import split_sentences, split_statements

MAX_WORDS = 16
"""Words that a statement may have; a longer clause says too much at once to be one trait."""
LONGEST_SENTENCE = 60
"""Words of a sentence that is still read; beyond that it is a list or a table."""
_OTHERS = re.compile(
    r"\b(?:unlike|resembl\w+|similar to|differ\w* (?:from|in)|distinguish\w*|confus\w+"
    r"|compared (?:to|with)|mistaken|mimic\w*|lookalike|as opposed to|in contrast)\b",
    re.IGNORECASE,
)
"""A sentence that compares says what another label looks like."""
_NOTES = re.compile(r"\[[^\]]{0,20}\]|\([^()]*\)")
"""Footnotes and asides: measures, other names, sources."""


def extract_traits(
    text: str, lexicon: Lexicon, *, source: str, revision: str, limit: int = 12
) -> tuple[Trait, ...]:
    """Pick the visible statements out of a text by the words of its field.

    A sentence counts if what it says can be seen (`Lexicon.is_visual`); of its clauses, those that
    name a quality of a part are kept. Where there are too many, the richest sentences go first;
    the statements stand in the order of the text.

    Args:
        text: A record's text.
        lexicon: The words of the field.
        source: The record's source, for `Trait.source`.
        revision: The record's revision.
        limit: Statements at most.

    Returns:
        Statements of a few words ("the throat is bright red"), none twice.
    """
    found: dict[str, tuple[float, int, Trait]] = {}
    for place, sentence in enumerate(split_sentences(text)):
        score = _score(sentence, lexicon)
        if score <= 0:
            continue
        for said in visible_statements(sentence, lexicon):
            trait = Trait(text=said, sentence=sentence, source=source, revision=revision)
            found.setdefault(said.casefold(), (-score, place, trait))
    best = sorted(found.values(), key=lambda item: item[:2])[:limit]
    return tuple(trait for _, _, trait in sorted(best, key=lambda item: item[1]))


def visible_statements(sentence: str, lexicon: Lexicon) -> list[str]:
    """Return the clauses of a sentence that say what a part looks like, in its order."""
    bare = " ".join(_NOTES.sub(" ", sentence).split()).replace(" ,", ",")
    kept = []
    for span in split_statements(bare):
        said = span.text
        if span.start == 0 and said[1:2].islower():
            said = said[0].lower() + said[1:]
        if len(said.split()) <= MAX_WORDS and lexicon.claims(said) and lexicon.is_visual(said) > 0:
            kept.append(said)
    return kept


def holds_for_some(trait: Trait, lexicon: Lexicon) -> bool:
    """Return whether a statement is true of some individuals of its label only, as far as is said.

    A sheet says what all share, and notes on one picture say what that one has.
    """
    if trait.source in (SHEET, *SOURCES):
        return False
    return lexicon.is_limited(trait.sentence) or lexicon.is_limited(trait.text)


def sheet_claims(domain: Domain, tree: LabelTree, node: int) -> Traits:
    """Return the traits of a label's shipped sheet, empty for a label without one."""
    label = tree.key(node)
    for sheet in domain.builtin.sheets():
        if sheet.label == label:
            return sheet.traits
    return {}


def sheet_traits(domain: Domain, tree: LabelTree, node: int) -> tuple[Trait, ...]:
    """Say a label's shipped sheet as short statements: "orange wings", "no tails".

    Args:
        domain: Brings the sheet and its standard wordings.
        tree: The tree that `node` is of.
        node: A label.

    Returns:
        A statement a trait, none for a label without a sheet or a domain without words.
    """
    traits = sheet_claims(domain, tree, node)
    if not traits or domain.knowledge is None:
        return ()
    sentence = next(iter(domain.builtin.describe(traits)), "")
    revision = hashlib.sha256(json.dumps(dict(traits)).encode()).hexdigest()[:12]
    said = _lexicon(domain.knowledge.words).say(traits)
    return tuple(
        Trait(text=text, sentence=sentence, source=SHEET, revision=revision)
        for text in said.values()
    )


@lru_cache(maxsize=8)
def _lexicon(words: Callable[[], TraitWords]) -> Lexicon:
    """Return the lexicon of a domain's words, made once for all its labels."""
    return Lexicon(words())


def _score(sentence: str, lexicon: Lexicon) -> float:
    """Score a sentence as the lexicon does; one about other labels, or too long, scores none."""
    if _OTHERS.search(sentence) or len(sentence.split()) > LONGEST_SENTENCE:
        return 0.0
    return lexicon.is_visual(sentence)
