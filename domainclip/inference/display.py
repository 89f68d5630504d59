"""Results as a page for notebooks: each picture beside its best names."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from PIL import Image

from .rows import FIXED

THUMBNAIL = 128
"""Longest side of a picture in pixels."""


@dataclass(frozen=True)
class Shown:
    """Pictures with the rows of results of each.

    Attributes:
        pictures: The pictures, RGB.
        rows: The rows of each picture, best first.
        notice: What has to be said with them.
    """

    pictures: Sequence[Image.Image]
    rows: Sequence[Sequence[Mapping[str, Any]]]
    notice: str = ""

    def __repr__(self) -> str:
        lines = [
            f"{one[0]['file_name']}: " + ", ".join(f"{say_name(r)} {r['score']:.2f}" for r in one)
            for one in self.rows
        ]
        return "\n".join([*lines, *([self.notice] if self.notice else [])])

    def _repr_html_(self) -> str:
        cells = [
            "<tr><td style='text-align:left'>"
            f"<img src='{into_url(picture)}' alt='' title='{escape(str(rows[0]['file_name']))}'>"
            "</td><td style='text-align:left'>" + "".join(map(_bar, rows)) + "</td></tr>"
            for picture, rows in zip(self.pictures, self.rows, strict=True)
        ]
        notice = f"<p><em>{escape(self.notice)}</em></p>" if self.notice else ""
        return f"<table>{''.join(cells)}</table>{notice}"


def say_name(row: Mapping[str, Any]) -> str:
    """Return the deepest name of a row, with its common name where it has one."""
    names = [str(value) for key, value in row.items() if key not in FIXED and value]
    common = row.get("common_name")
    return (names[-1] if names else "") + (f" ({common})" if common else "")


def into_url(picture: Image.Image, longest: int = THUMBNAIL) -> str:
    """Return a small copy of a picture as a data URL."""
    small = picture.copy()
    small.thumbnail((longest, longest))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _bar(row: Mapping[str, Any]) -> str:
    share = 100 * float(row["score"])
    return (
        "<div style='display:flex;gap:.6em;align-items:center'>"
        "<span style='display:inline-block;width:6em;height:.7em;background:#8883'>"
        f"<span style='display:block;width:{share:.1f}%;height:100%;background:#2a7'></span></span>"
        f"<span>{row['score']:.2f}</span><span>{escape(say_name(row))}</span></div>"
    )
