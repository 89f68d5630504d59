"""What a search found as a contact sheet: one page in one file, with small pictures."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from domainclip.data.images import Reader, UnreadableImage
from domainclip.errors import DataError
from domainclip.inference.display import into_url
from domainclip.inference.pictures import Picture, read_picture

from .matches import Match, Matches

SIDE = 200
"""Longest side of a picture in pixels."""
_TEMPLATE = Path(__file__).with_name("sheet.html")


def write_sheet(matches: Matches, path: str | Path) -> Path:
    """Write a contact sheet that opens without a network, and return its path.

    Raises:
        DataError: If it cannot be written.
    """
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(matches.asked or "What was found"),
        query="" if matches.query is None else _show(matches.query, matches.reader, "the query"),
        how=escape(matches.how),
        grid=show_grid(matches),
    )
    place = Path(path).expanduser()
    partial = place.with_name(f"{place.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")
        partial.replace(place)
    except OSError as error:
        raise DataError(f"{place} cannot be written: {error.strerror or error}") from error
    return place


def show_grid(matches: Matches) -> str:
    """Return matches as HTML: each picture over its score, its file and what is known of it."""
    cards = "".join(_card(match, matches.reader) for match in matches)
    layout = "display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.9rem"
    return f'<div class="grid" style="{layout}">{cards}</div>' if cards else "<p>Nothing.</p>"


def _card(match: Match, reader: Reader | None) -> str:
    told = match.row()
    for name in ("rank", "file_name", "score", *"xywh"):
        told.pop(name)
    known = "".join(
        f'<div><span class="soft">{escape(key)}</span> {escape(_plain(value))}</div>'
        for key, value in told.items()
        if value not in (None, "")
    )
    file = Path(match.file_name)
    name = f'<div class="soft" title="{escape(str(file))}">{escape(file.name)}</div>'
    score = f"<div><strong>{match.score:.3f}</strong> · {match.rank}</div>"
    picture = _show(match.picture, reader, file.name)
    return f'<figure style="margin:0">{picture}{score}{name}{known}</figure>'


def _show(picture: Picture, reader: Reader | None, said: str) -> str:
    try:
        url = into_url(read_picture(picture, reader=reader, side=SIDE), SIDE)
    except UnreadableImage as error:
        return f'<div class="none">{escape(error.reason)}</div>'
    return f'<img src="{url}" alt="{escape(said)}" style="max-width:100%">'


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
