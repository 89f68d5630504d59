"""Swaps the numbers and negations of a caption, by plain English alone."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence

from domainclip.knowledge.counting import add_article
from domainclip.knowledge.lexicon import Claim, Lexicon
from domainclip.knowledge.sentences import split_statements
from domainclip.knowledge.tokens import fold_word
from domainclip.knowledge.wordings import LINKS

from .swaps import Swap

_WORDS = "one two three four five six seven eight nine ten"
NUMBERS = _WORDS.split()
_COUNT = re.compile(
    rf"(?<![\w'’.,/:-])(?:a single|{'|'.join(NUMBERS)}|[2-9]|1[0-9])(?![\w'’%/:°-]|[.,]\d)", re.I
)
AMOUNTS = {
    "several": ("no",), "numerous": ("no", "few"), "many": ("no", "few"), "a few": ("many", "no"),
    "few": ("many",), "multiple": ("no",),
}  # fmt: skip
_AMOUNT = re.compile(rf"(?<![\w-])(?:{'|'.join(AMOUNTS)})(?![\w-])", re.IGNORECASE)
_LIMITS = """
a an the that this each every any another only no not as so how too very or to than least most about
"""
_NOT_AFTER = frozenset(_LIMITS.split())
"""Words before a number or amount that say it is none, or not quite it."""
_NO_COUNT = frozenset({"thirds", "halves", "quarters", "times", "percent", "degrees"})
_ENDS = """
and or but to that which with without is are was were has have had lies lie stands stand runs run
each all both it they its their the a an no
"""
_STOPS = LINKS | frozenset(_ENDS.split())
"""Words that no noun phrase goes on over."""
_WORD = re.compile(r"\s+([A-Za-z][\w'’-]*)")

_NO = re.compile(r"(?<![\w-])no (?!(?:longer|more|less|other|one|two|doubt)\b)(?=[a-z])", re.I)
_WITHOUT = re.compile(r"(?<![\w-])(without|lacks?|lacking)( any)? (?!\w+ing\b)(?=[a-z])", re.I)
_HAS = {"without": "with", "lacks": "has", "lack": "have", "lacking": "with"}
_NOT = re.compile(r"(?<![\w-])(is|are|was|were) not (?!only|very|quite|always|yet|all\b)", re.I)
_JOINT = re.compile(r"(?:,|\b(?:and|with|has|have|showing))\s+$", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:no|not|without|lacks?|lacking|never)\b", re.IGNORECASE)
_OPENERS = _STOPS | frozenset({"several", "many", "few", "some", *NUMBERS})


def find_counts(text: str) -> list[list[Swap]]:
    """Return the swaps of each number ("two", "3", "a single") and amount ("several")."""
    found = []
    for match in _COUNT.finditer(text):
        if options := [*_other_counts(text, match)]:
            found.append(options)
    for match in _AMOUNT.finditer(text):
        words = _noun_words(text, match.end())
        if _is_counted(text, match) and words and _is_plural(words[-1]):
            said = match.group().lower()
            found.append([Swap(*match.span(), other) for other in AMOUNTS[said]])
    return found


def find_negations(
    text: str,
    lexicon: Lexicon | None = None,
    claims: Sequence[Claim] = (),
    deniable: Container[tuple[str, str]] = (),
) -> list[list[Swap]]:
    """Return the swaps that deny what is said, or say what is denied.

    Args:
        text: A caption.
        lexicon: The words of a field, which tell "a nucleus" from "water"; without them only
            plurals are taken out of a "no".
        claims: What the caption claims, by the lexicon.
        deniable: Traits and values of which it can be said that they are not there ("tails",
            "long"); with a lexicon, nothing but these is denied.
    """
    found = [_affirmed(text, match, lexicon) for match in _NO.finditer(text)]
    for match in _WITHOUT.finditer(text):
        found.append([Swap(*match.span(), f"{_HAS[match[1].lower()]} ")])
    for match in _NOT.finditer(text):
        found.append([Swap(*match.span(), f"{match[1]} ")])
    there = [c for c in claims if (c.trait, c.value) in deniable and not c.negated]
    found += [[swap] for swap in _denied(text, None if lexicon is None else there)]
    return [options for options in found if options]


def _other_counts(text: str, match: re.Match[str]) -> Iterator[Swap]:
    """Yield other numbers in the place of one; the noun of "one" becomes a plural."""
    said = match.group().lower()
    words = _noun_words(text, match.end())
    if not words or not _is_counted(text, match) or {*words} & _NO_COUNT:
        return
    n = 1 if said == "a single" else int(said) if said.isdigit() else NUMBERS.index(said) + 1
    noun = words[-1]
    if n > 1:
        if _is_plural(noun):
            for count in sorted({n - 1, n + 1, n + 2, 2 * n} - {1}):
                if said.isdigit() or count <= len(NUMBERS):
                    number = str(count) if said.isdigit() else NUMBERS[count - 1]
                    yield Swap(*match.span(), number)
        return
    if noun.endswith(("s", "ing", "ed", "ly", "er")) or noun in _OPENERS or noun != fold_word(noun):
        return
    end = match.end()
    for _ in words:
        step = _WORD.match(text, end)
        end = step.end() if step else end
    for other in NUMBERS[1:4]:
        yield Swap(match.start(), end, f"{other}{text[match.end() : end]}{plural_ending(noun)}")


def plural_ending(noun: str) -> str:
    """Return what a regular noun gets in the plural."""
    return "es" if noun.endswith(("ch", "sh", "x", "z")) else "s"


def _noun_words(text: str, at: int) -> list[str]:
    """Return the words of a noun phrase that goes on at a place, four at most."""
    words: list[str] = []
    while len(words) < 5 and (match := _WORD.match(text, at)):
        if match[1].lower() in _STOPS:
            return words
        words.append(match[1].lower())
        at = match.end()
    return words if len(words) < 5 else []


def _is_counted(text: str, match: re.Match[str]) -> bool:
    before = re.search(r"([\w'’-]+)\s+$", text[: match.start()])
    return not before or before[1].lower() not in _NOT_AFTER


def _is_plural(noun: str) -> bool:
    return len(noun) > 3 and noun.endswith("s") and not noun.endswith(("ss", "us", "is"))


def _affirmed(text: str, match: re.Match[str], lexicon: Lexicon | None) -> list[Swap]:
    """Return "a nucleus" for "no nucleus"."""
    words = _noun_words(text, match.end() - 1)
    end = match.end() + len(" ".join(words))
    phrase = text[match.end() : end]
    if not words or re.match(r",? n?or\b", text[end:]):
        return []
    if lexicon is not None:
        return [Swap(match.start(), end, add_article(phrase, lexicon))]
    return [Swap(match.start(), end, phrase)] if _is_plural(words[-1]) else []


def _denied(text: str, there: Sequence[Claim] | None) -> Iterator[Swap]:
    """Yield a "no" before items of a list, and "without" for the only "with".

    Args:
        text: A caption.
        there: The claims that may be denied; None where no words of a field are known.
    """
    for span in split_statements(text):
        joint = _JOINT.search(text[: span.start])
        if not joint or _DENIED.search(span.text):
            continue
        first, _, rest = span.text.partition(" ")
        article = first.lower() in ("a", "an") and rest
        begin = span.start + (len(first) + 1 if article else 0)
        words = _noun_words(f" {text[begin:]}", 0)
        if not words or words[0] in _OPENERS or words[0].endswith(("ly", "ing")):
            continue
        if not (article or _is_plural(words[-1])):
            continue
        end = begin + len(" ".join(words))
        if there is not None and not any(span.start <= claim.start < end for claim in there):
            continue
        follows = re.match(r"(, | and )(\w+)", text[span.end :])
        leads = follows and (follows[1] == " and " or joint.group()[0] != ",")
        if follows and leads and follows[2] not in LINKS | {"no"}:
            continue  # "no tails and dark veins" would deny both
        alone = joint.group().strip().lower() == "with" and not re.search(
            r",|\band\b|\bno\b", text[span.start :]
        )
        if alone:
            yield Swap(joint.start(), span.start, "without ")
        else:
            yield Swap(span.start, begin, "no ")
