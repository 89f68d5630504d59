"""Takes claims out of a caption and mends what is left: lists, articles, dangling words.

No language model is asked: the words of a claim go, and around the gap the caption is read as a
list of things held together by commas, "and", articles and prepositions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from domainclip.knowledge.articles import find_article, match_case
from domainclip.knowledge.lexicon import Claim

_TOKEN = re.compile(r"\w+(?:['’\-‑]\w+)*|[^\w\s]")
_STOPS = frozenset(".!?;:")
_JOINTS = frozenset({"and", "or", "but", "nor", "&", "plus"})


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set(
    "a an the this that these those its their his her some each every both no any another one two "
    "three four five six several many few numerous multiple single various either"
)
_DEGREES = _set(
    "very slightly mostly rather quite somewhat almost nearly mainly partly heavily lightly "
    "distinctly clearly highly fairly predominantly largely also"
)
_LIST_OPENERS = _set(
    "with has have had having shows show showing features feature featuring bears bear bearing "
    "displays display displaying includes include including lacks lack lacking without"
)
_LACKS = _set("lacks lack lacking without")
_COPULAS = _set("is are was were be been being appears appear looks look seems seem")
_LINKS = _set(
    "of on in at by for from to under over above below against along across between near into "
    "through beneath behind around within beside amid among upon inside outside like"
)
_OPENERS = _LIST_OPENERS | _COPULAS | _LINKS
_LED = _set(
    "edged bordered covered surrounded marked tipped lined fringed crossed dotted filled composed "
    "made consisting dominated accompanied overlapped flanked framed"
)
"""Participles that say nothing without the words that follow them."""
NOBODY = "one"
"""Stands in for a noun where the caller knows none."""
_GAP = "\0"
_MATES = {"(": ")", "[": "]", '"': '"', "“": "”", "‘": "’"}


@dataclass(frozen=True)
class _Token:
    text: str
    spaced: bool
    """Whether a space stands before it."""
    kept: bool = False
    """Whether it belongs to a claim that stays."""
    within: bool = False
    """Whether it stands in the noun phrase of a claim that goes."""

    @property
    def low(self) -> str:
        return self.text.lower()


@dataclass(frozen=True)
class _Gap:
    """Where words were taken out."""

    words: int


_Item = _Token | _Gap


def drop_claims(
    text: str, claims: Iterable[Claim], *, keep: Iterable[Claim] = (), noun: str = NOBODY
) -> str:
    """Take the words of claims out of a caption and mend the grammar around the gaps.

    Args:
        text: The caption.
        claims: What goes, by where it lies in `text`.
        keep: The other claims of the text: words that they share with a dropped claim stay, and a
            noun phrase goes whole only where none of them stands in it.
        noun: What the picture shows: stands in for the subject of a sentence, and for the noun of
            an adjective that stays.

    Returns:
        The rest, "" where nothing is left.
    """
    going = list(claims)
    staying = [c for c in keep if not any(_hangs_on(c, other) for other in going)]
    stay = [(c.start, c.end) for c in staying]
    gone = [
        (*_words(claim, stay), [(c.start, c.end) for c in staying if not _holds(c, claim)])
        for claim in going
    ]
    phrases = [claim.phrase for claim in going]
    items: list[_Item] = []
    for match in _TOKEN.finditer(text):
        if any(_goes(match, *words) for words in gone):
            items.append(_Gap(1))
        else:
            spaced = match.start() > 0 and text[match.start() - 1].isspace()
            kept, within = _overlaps(match, stay), _overlaps(match, phrases)
            items.append(_Token(match.group(), spaced, kept, within))
    if not any(isinstance(item, _Gap) for item in items):
        return text
    while (place := _first_gap(items)) is not None:
        _mend(items, place, noun)
    return _join([item for item in items if isinstance(item, _Token)])


def _words(claim: Claim, stay: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the words that go with a claim: its whole noun phrase where nothing of it stays."""
    start, end = claim.phrase
    if start < end and not any(start < e and s < end for s, e in stay):
        return min(start, claim.start), max(end, claim.end)
    return claim.start, claim.end


def _holds(claim: Claim, other: Claim) -> bool:
    return claim.start <= other.start and other.end <= claim.end


def _hangs_on(claim: Claim, other: Claim) -> bool:
    """Whether a claim says nothing without another: "black" in "a broad black band"."""
    same = (claim.start, claim.end) == (other.start, other.end)
    return _holds(other, claim) and (claim.end < other.end or same)


def _goes(match: re.Match[str], start: int, end: int, stay: Sequence[tuple[int, int]]) -> bool:
    """Whether a word goes with the words `start` to `end` of a claim, of which some may stay."""
    if not _overlaps(match, [(start, end)]) or _overlaps(match, stay):
        return False
    # the article of a phrase whose end stays: "a" in "a [fresh] male"
    leads = match.start() == start and match.group().lower() in _DETERMINERS
    return not (leads and any(match.end() <= s < end for s, _ in stay))


def _overlaps(match: re.Match[str], spans: Sequence[tuple[int, int]]) -> bool:
    return any(match.start() < end and start < match.end() for start, end in spans)


def _first_gap(items: Sequence[_Item]) -> int | None:
    return next((i for i, item in enumerate(items) if isinstance(item, _Gap)), None)


def _low(items: Sequence[_Item], index: int) -> str:
    """Return a token in lower case; nothing beyond the ends, `_GAP` for a gap."""
    if not 0 <= index < len(items):
        return ""
    item = items[index]
    return item.low if isinstance(item, _Token) else _GAP


def _is_kept(items: Sequence[_Item], index: int) -> bool:
    item = items[index] if 0 <= index < len(items) else None
    return isinstance(item, _Token) and item.kept


def _is_within(items: Sequence[_Item], index: int) -> bool:
    item = items[index] if 0 <= index < len(items) else None
    return isinstance(item, _Token) and item.within


def _ends(word: str) -> bool:
    return word == "" or word in _STOPS


def _bounds(word: str) -> bool:
    """Whether a word cannot be the noun of the adjective or article before it."""
    return _ends(word) or word in ',)]"”–—' or word in _JOINTS or word in _OPENERS


def _mend(items: list[_Item], i: int, noun: str) -> None:
    """Mend around the first gap until nothing more is wrong there, then close it."""
    led = False
    while True:
        gap = items[i]
        words = gap.words if isinstance(gap, _Gap) else 0
        left, right, after = _low(items, i - 1), _low(items, i + 1), _low(items, i + 2)
        may_left, may_right = not _is_kept(items, i - 1), not _is_kept(items, i + 1)
        if right == _GAP:
            following = items.pop(i + 1)
            more = following.words if isinstance(following, _Gap) else 0
            items[i] = _Gap(words + more)
        elif left in _MATES and right == _MATES[left]:
            del items[i + 1], items[i - 1]
            i -= 1
        elif _is_within(items, i - 1) and left in _JOINTS | {","} and _is_within(items, i + 1):
            i = _delete_left(items, i)  # "red and [black] wings"
        elif left in _DETERMINERS | _DEGREES and _bounds(right) and may_left:
            listed = right == "," or right in _JOINTS
            if listed and words == 1 and not _bounds(after) and after not in _DETERMINERS:
                del items[i + 1]  # "a [black] and white margin", "a [crowded], pale area"
            else:
                i = _delete_left(items, i)
        elif led and left in _LED and _bounds(right) and may_left:
            i = _delete_left(items, i)
        elif _ends(left) and _ends(right):
            i = _close_sentence(items, i)
            break
        elif _ends(left) and right in _LIST_OPENERS and noun != NOBODY:
            items[i:i] = [_Token(find_article(noun).capitalize(), True), _Token(noun, True)]
            i += 2  # "[A small round cell] with ..."
            break
        elif (_ends(left) or left in _MATES) and may_right and _begins_nothing(right):
            del items[i + 1]
        elif _ends(left) and right in _COPULAS and not _keeps(items, i + 1):
            _delete_clause(items, i + 1)
        elif left in _OPENERS and _bounds(right) and may_left:
            goes_on = right == "," and not (_ends(after) or after in _OPENERS)
            if right in _JOINTS or goes_on:
                del items[i + 1]
            else:
                i, led = _delete_left(items, i), True
        elif left in _JOINTS and _bounds(right):
            i = _delete_left(items, i)
            if right not in _JOINTS:
                _close_list(items, i)
        elif left == "," and _bounds(right) and right not in _LINKS:
            i = _delete_left(items, i)
        else:
            has_noun = not (_is_kept(items, i - 1) and _is_within(items, i - 1) and left.isalpha())
            if not has_noun and _bounds(right) and _low(items, i - 2) in _DETERMINERS:
                items.insert(i, _Token(noun, True))  # "a fresh [male] with"
                i += 1
            break
    _close(items, i)


def _begins_nothing(word: str) -> bool:
    """Whether a sentence cannot begin with a word."""
    return word == "," or word in _JOINTS or word in _LIST_OPENERS - _LACKS


def _delete_left(items: list[_Item], i: int) -> int:
    del items[i - 1]
    return i - 1


def _close_sentence(items: list[_Item], i: int) -> int:
    """Take out the full stop of a sentence or clause of which nothing is left."""
    left, right = _low(items, i - 1), _low(items, i + 1)
    if left in (";", ":") and right not in (";", ":"):
        return _delete_left(items, i)
    if right:
        del items[i + 1]
    return i


def _keeps(items: Sequence[_Item], start: int) -> bool:
    """Whether the clause from here on says something that stays."""
    for item in items[start:]:
        if isinstance(item, _Gap) or item.text == "," or _ends(item.low):
            return False
        if item.kept:
            return True
    return False


def _delete_clause(items: list[_Item], start: int) -> None:
    """Delete a verb that lost its subject, to the end of its clause."""
    while start < len(items):
        item = items[start]
        if isinstance(item, _Gap) or item.text == "," or _ends(item.low) or item.low in _JOINTS:
            return
        del items[start]


def _close_list(items: list[_Item], i: int) -> None:
    """Put "and" for the last comma of a list that lost its last item."""
    commas = []
    opened = False
    for j in range(i - 1, -2, -1):
        word = _low(items, j)
        if word in _JOINTS:
            return
        if _ends(word):
            opened = True  # a bare list
            break
        if word == ",":
            commas.append(j)
        elif word in _LIST_OPENERS:
            opened = True
            break
        elif word in _OPENERS:
            if not commas:
                return
            break
    if commas and (opened or len(commas) > 1):
        items[commas[0]] = _Token("and", True)


def _close(items: list[_Item], i: int) -> None:
    """Close a gap: mend the article before it, or the capital letter behind it."""
    if i < len(items) and isinstance(items[i], _Gap):
        del items[i]
    if i >= len(items):
        return
    right = items[i]
    if not isinstance(right, _Token):
        return
    left = items[i - 1] if i else None
    if left is None or (isinstance(left, _Token) and left.text in ".!?"):
        items[i] = replace(right, text=right.text[:1].upper() + right.text[1:])
    elif isinstance(left, _Token):
        if left.low in ("a", "an") and right.text[0].isalpha():
            items[i - 1] = replace(left, text=match_case(find_article(right.text), left.text))
        if right.text[0].isalnum() and left.text not in _MATES:
            items[i] = replace(right, spaced=True)


def _join(tokens: Sequence[_Token]) -> str:
    if not any(token.text[0].isalnum() for token in tokens):
        return ""
    return "".join(
        f"{' ' * (token.spaced and i > 0)}{token.text}" for i, token in enumerate(tokens)
    )
