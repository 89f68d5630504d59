"""Cuts text into sentences, and a caption into the statements that it lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHORT = """
approx art ca cf cm dr e.g ed eds esp et al etc fig figs gen i.e incl inc jr lat max min mm mr mrs
no nr op p pers pl pp prof resp sect sp spp ssp st subg subsp subspp syn var vars viz vol vs
"""
_ABBREVIATIONS = frozenset(_SHORT.split())
_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")
_LAST_WORD = re.compile(r"([^\s(\[]+)\.$")

_COLOURS = """
amber beige black blackish blue bluish bright bronze brown brownish buff coarse cream crimson dark
deep dull fine golden green greenish grey greyish ivory large light long maroon narrow orange pale
pink pinkish plain purple purplish red reddish rosy round rounded rusty silver silvery short small
smooth tall tan thick thin turquoise violet white whitish wide yellow yellowish
"""
_ADJECTIVES = frozenset(_COLOURS.split())
_ARTICLES = frozenset({"a", "an", "the", "its", "their", "his", "her", "this"})
_NEW = _ARTICLES | {"no", "without"}
"""Words that begin a new statement."""
_BREAK = re.compile(
    r"\s*[;:]\s+|\s*,\s+(?:and|but|while|whereas|with|or)\s+|\s*,\s+|\s+[—–]\s+"
    r"|\s+(?:and|with|but|while|whereas|showing|has|have)\s+"
)
_WORD = re.compile(r"[\w'’-]+")


@dataclass(frozen=True)
class Span:
    """A stretch of a text, `text[start:end]`."""

    start: int
    end: int
    text: str


def split_sentences(text: str) -> list[str]:
    """Cut text into sentences; points of abbreviations, initials and numbers do not count.

    A line break ends a sentence too. White space within a sentence becomes single spaces.
    """
    return [span.text for span in sentence_spans(text)]


def sentence_spans(text: str) -> list[Span]:
    """Cut text into sentences as `split_sentences` does, each with its place in the text.

    The white space in `Span.text` is made single spaces, so it may differ from the stretch itself.
    """
    spans = []
    offset = 0
    for line in text.splitlines(keepends=True):
        start = 0
        for end in [m.end() for m in _END.finditer(line) if _is_end(line, m)] + [len(line)]:
            piece = line[start:end]
            if words := " ".join(piece.split()):
                lead = len(piece) - len(piece.lstrip())
                first = offset + start + lead
                spans.append(Span(first, first + len(piece.strip()), words))
            start = end
        offset += len(line)
    return spans


def split_statements(text: str) -> list[Span]:
    """Cut a caption into its clauses and list items, each a stretch of the text as it stands.

    "A butterfly with black and white wings, no tails." gives "A butterfly", "black and white
    wings" and "no tails". Words that only join ("with", "and", "has") belong to no statement.
    """
    spans = []
    for sentence in sentence_spans(text):
        start = sentence.start
        stretch = text[: sentence.end]
        for match in _BREAK.finditer(text, sentence.start, sentence.end):
            if match.start() < start or not _breaks(stretch, start, match):
                continue
            spans.append((start, match.start()))
            start = match.end()
        spans.append((start, sentence.end))
    return [span for start, end in spans if (span := _trimmed(text, start, end)).text]


def _is_end(line: str, match: re.Match[str]) -> bool:
    """Return whether a point ends a sentence rather than shortening a word."""
    rest = line[match.end() :].lstrip()
    if not rest:
        return True
    if match.group()[0] in "!?":
        return True
    if rest[0].islower() or rest[0] in ",;:":
        return False
    word = _LAST_WORD.search(line[: match.start() + 1])
    if not word:
        return True
    last = word.group(1)
    initial = len(last) == 1 and last.isupper()
    return not initial and last.lower() not in _ABBREVIATIONS


def _breaks(stretch: str, start: int, match: re.Match[str]) -> bool:
    """Return whether a joining word or comma parts two statements, not two adjectives."""
    before = _WORD.findall(stretch[start : match.start()])
    after = _WORD.findall(stretch[match.end() :])
    if not before or not after:
        return False
    joint = match.group().strip(" ,").lower()
    if joint in ("and", "or", ""):
        content = [word for word in before if word.lower() not in _ARTICLES]
        if content and after[0].lower() in _NEW:
            return True
        if not content or content[-1].lower() in _ADJECTIVES:
            return False
        if len(content) == 1 and content[0].lower().endswith(("ed", "ish")):
            return False
        # "two rows and ..." may part; a single word before "and" is an adjective or a bare noun
        return len(content) > 1 or joint == ""
    return joint not in ("has", "have") or before[-1].lower() not in ("not", "don't", "doesn't")


def _trimmed(text: str, start: int, end: int) -> Span:
    """Return the stretch without white space and closing points at its ends."""
    while start < end and (text[start].isspace() or text[start] in ",;"):
        start += 1
    while start < end and (text[end - 1].isspace() or text[end - 1] in ".,;:!?"):
        end -= 1
    return Span(start, end, text[start:end])
