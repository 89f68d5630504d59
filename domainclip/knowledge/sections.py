"""Which sections of a page are worth reading, with their sub-sections."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .site import Page, Section

_NOTES = re.compile(r"\[(?:\d+|[a-z]|note \d+|citation needed|update)\]", re.I)
_MATH = re.compile(r"\{\\displaystyle[^{}]*\}")


def pick_sections(page: Page, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return (heading, text) of the sections asked for, best first; the lead where there is none.

    A heading counts that contains a wanted word, case ignored; its text takes in all of its
    sub-sections. The lead has the heading "".
    """
    picked: dict[int, str] = {}
    taken: set[int] = set()
    for word in wanted:
        for i, section in enumerate(page.sections):
            if i in taken or word.lower() not in section.heading.lower():
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
    """Return plain text: no footnote marks, no empty lines, single blanks."""
    text = _MATH.sub("", _NOTES.sub("", text))
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _end(sections: Sequence[Section], start: int) -> int:
    """Return the place after the last sub-section of a section."""
    level = sections[start].level
    below = range(start + 1, len(sections))
    return next((i for i in below if sections[i].level <= level), len(sections))
