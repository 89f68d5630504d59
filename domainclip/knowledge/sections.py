"""Which sections of a page are worth reading, with their sub-sections."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .site import Page, Section

_NOTES = re.compile(r"\[(?:\d+|[a-z]|note \d+|citation needed|update)\]", re.I)
_MATH = re.compile(r"\{\\displaystyle[^{}]*\}")
_EMPTY = re.compile(r"\s*\([\s,;:/–-]*\)")
_LOOSE = re.compile(r"\s+([,.;:)])")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def pick_sections(page: Page, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return (heading, text) of the sections asked for, best first; the lead where there is none.

    A heading counts that contains a wanted word, case ignored; those that begin with it come before
    those that mention it ("History of the description"). A section takes in its sub-sections. The
    lead has the heading "".
    """
    picked: dict[int, str] = {}
    taken: set[int] = set()
    for word in wanted:
        for i in _headed(page.sections, word.lower()):
            if i in taken:
                continue
            end = _end(page.sections, i)
            taken.update(range(i, end))
            text = clean("\n".join(part.text for part in page.sections[i:end] if part.text))
            if text:
                picked[i] = text
    if picked:
        return [(page.sections[i].heading, text) for i, text in picked.items()]
    lead = clean(page.lead)
    return [("", lead)] if lead else []


def clean(text: str) -> str:
    """Return plain text without what is left where formulas, sounds and notes were taken out."""
    text = _EMPTY.sub("", _MATH.sub("", _NOTES.sub("", _UNSEEN.sub("", text))))
    text = _LOOSE.sub(r"\1", text)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _headed(sections: Sequence[Section], word: str) -> list[int]:
    """Return the places of sections whose heading has a word, the nearest to it first."""
    headings = [" ".join(section.heading.lower().split()) for section in sections]
    found = [i for i, heading in enumerate(headings) if word in heading]
    return sorted(found, key=lambda i: (headings[i] != word, not headings[i].startswith(word)))


def _end(sections: Sequence[Section], start: int) -> int:
    """Return the place after the last sub-section of a section."""
    level = sections[start].level
    below = range(start + 1, len(sections))
    return next((i for i in below if sections[i].level <= level), len(sections))
