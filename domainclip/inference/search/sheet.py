"""What a search found as a contact sheet: one page in one file, with small pictures."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Return matches as HTML: each picture over its score, its file and what is known of it.

    What is the same of all of them stands once, above the pictures.
    """
    if not matches:
        return "<p>Nothing.</p>"
    told = [{key: _plain(value) for key, value in match.metadata.items()} for match in matches]
    shared = {key: value for key, value in told[0].items()
              if len(told) > 1 and all(one.get(key) == value for one in told)}  # fmt: skip
    cards = "".join(
        _card(match, {key: value for key, value in one.items() if key not in shared},
              matches.reader)
        for match, one in zip(matches, told, strict=True)
    )  # fmt: skip
    layout = "display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.9rem"
    above = " · ".join(f"{key} {value}" for key, value in shared.items() if value)
    line = f'<p class="soft">all: {escape(above)}</p>' if above else ""
    return f'{line}<div class="grid" style="{layout}">{cards}</div>'


def _card(match: Match, told: Mapping[str, str], reader: Reader | None) -> str:
    known = "".join(
        f'<div><span class="soft">{escape(key)}</span> {escape(value)}</div>'
        for key, value in told.items()
        if value
    )
    file = Path(match.file_name)
    name = f'<div class="soft" title="{escape(str(file))}">{escape(file.name)}</div>'
    score = f"<div><strong>{match.rank}</strong> · {match.score:.3f}</div>"
    picture = _show(match.picture, reader, file.name)
    return f'<figure style="margin:0">{picture}{score}{name}{known}</figure>'


def _show(picture: Picture, reader: Reader | None, said: str) -> str:
    try:
        url = into_url(read_picture(picture, reader=reader, side=SIDE), SIDE)
    except UnreadableImage as error:
        return f'<div class="none">{escape(error.reason)}</div>'
    return f'<img src="{url}" alt="{escape(said)}" style="max-width:100%">'


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
