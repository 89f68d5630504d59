"""When two names are the same but for spelling, gender or number."""

from __future__ import annotations

from collections.abc import Iterable

from domainclip.domains.names import fold

_LATIN = ("orum", "ii", "ae", "us", "um", "is", "er", "a", "e", "i")
"""Endings that one name may have in several genders."""
_SPELT = 6
"""Letters from which on a word may differ by one letter and still be the same."""


def is_alike(one: str, other: str) -> bool:
    """Return whether two names of several words differ in the spelling of the last at most."""
    (*first, last), (*others, word) = one.split(), other.split()
    if first != others or not first:
        return False
    stems = [_stem(text, _LATIN) for text in (last, word)]
    return stems[0] == stems[1] or (min(len(last), len(word)) >= _SPELT and _one_off(last, word))


def _one_off(one: str, other: str) -> bool:
    """Return whether two words differ by one letter changed, added or left out."""
    if abs(len(one) - len(other)) > 1:
        return False
    short, long = sorted((one, other), key=len)
    i = next((i for i, c in enumerate(short) if c != long[i]), len(short))
    return short[i + (len(short) == len(long)) :] == long[i + 1 :]


def is_same(said: str, name: str, endings: Iterable[str]) -> bool:
    """Return whether two names of a group are one, but for endings of the same meaning."""
    one, other = fold(said), fold(name)
    return one == other or _stem(one, endings) == _stem(other, endings)


def _stem(name: str, endings: Iterable[str]) -> str:
    cut = next((e for e in sorted(endings, key=len, reverse=True) if name.endswith(e)), "")
    return name[: len(name) - len(cut)] if cut and len(name) - len(cut) >= 3 else name


def numbers(name: str) -> set[str]:
    """Return a name, and what it may be the plural of."""
    forms = {name}
    if name.endswith("ies"):
        forms.add(name[:-3] + "y")
    if name.endswith("es"):
        forms.add(name[:-2])
    if name.endswith("s"):
        forms.add(name[:-1])
    return forms
