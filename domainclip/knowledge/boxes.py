"""The information box of a page, read from its HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_NOTE = re.compile(r"\[[^\[\]]{0,20}\]")
_BREAKS = ("br", "li", "p", "div", "tr")


@dataclass(frozen=True)
class Box:
    """Rows of a page's information box; headings in lower case, without a colon."""

    rows: dict[str, str] = field(default_factory=dict)
    """Heading -> the first line beside it."""
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Heading across the whole box -> the lines below it."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.parts)


def read_box(html: str) -> Box:
    """Read the first information box of a page's HTML; an empty one where there is none."""
    reader = _Reader()
    reader.feed(html)
    box, heading = Box(), ""
    for row in reader.rows:
        cells = [(head, lines) for head, lines in row if lines]
        if len(cells) >= 2:
            heading = ""
            box.rows.setdefault(_heading(cells[0][1]), cells[1][1][0])
        elif cells and cells[0][0]:
            heading = _heading(cells[0][1])
        elif cells and heading:
            box.parts[heading] = box.parts.get(heading, ()) + tuple(cells[0][1])
    return box


class _Reader(HTMLParser):
    """Takes the cells of the first table of the class `infobox`, tables within it left out."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[bool, list[str]]]] = []
        """Rows of cells: whether it is a heading, and its lines."""
        self._depth = 0
        self._done = False
        self._text: list[str] | None = None
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "table" and (self._depth or ("infobox" in classes and not self._done)):
            self._depth += 1
        if not self._depth:
            return
        if tag in ("style", "script") or (tag == "sup" and "reference" in classes):
            self._skipped.append(tag)
        if self._depth > 1:
            return
        if tag == "tr":
            self._close_cell()
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self._close_cell()
            self.rows[-1].append((tag == "th", []))
            self._text = []
        elif tag in _BREAKS and self._text is not None:
            self._text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if not self._depth:
            return
        if self._skipped and tag == self._skipped[-1]:
            self._skipped.pop()
        if self._depth == 1 and tag in ("td", "th", "tr", "table"):
            self._close_cell()
        if tag == "table":
            self._depth -= 1
            self._done = self._done or not self._depth

    def handle_data(self, data: str) -> None:
        if self._text is not None and self._depth == 1 and not self._skipped:
            # a line break of the source is a blank; only tags break lines
            self._text.append(re.sub(r"\s", " ", data))

    def _close_cell(self) -> None:
        if self._text is None:
            return
        lines = (_NOTE.sub("", line) for line in "".join(self._text).split("\n"))
        self.rows[-1][-1][1].extend(filter(None, (" ".join(line.split()) for line in lines)))
        self._text = None


def _heading(lines: list[str]) -> str:
    return lines[0].rstrip(": ").lower()
