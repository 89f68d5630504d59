"""Puts a picture into the messages of a chat: as a JPEG in a data URL, of bounded size."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from domainclip.errors import UsageError

SIDE = 1024
"""Longest side in pixels; more rarely tells a model more, and costs tokens."""
MAX_BYTES = 4_000_000
"""Of the JPEG; the data URL is a third longer."""
QUALITY = 90


def encode_picture(
    image: Image.Image, *, side: int = SIDE, max_bytes: int = MAX_BYTES, quality: int = QUALITY
) -> str:
    """Return a picture as a data URL.

    Nothing but its pixels goes out: no name, place or date that a file may hold.

    Args:
        image: An RGB picture; it is left as it is.
        side: Longest side in pixels; a larger picture is scaled down, a smaller one is not touched.
        max_bytes: Bytes of the JPEG; quality goes down first, then the size.
        quality: Of the JPEG, 1 to 95.
    """
    picture = image.convert("RGB")  # a copy
    picture.info = {}
    picture = fit(picture, side)
    while True:
        for step in (quality, min(quality, 75), min(quality, 60)):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=step)
            if buffer.tell() <= max_bytes:
                break
        if buffer.tell() <= max_bytes or max(picture.size) <= 32:
            return "data:image/jpeg;base64," + base64.b64encode(buffer.getbuffer()).decode("ascii")
        picture = fit(picture, round(max(picture.size) * 0.7))


def put_picture(messages: Sequence[Mapping[str, Any]], url: str) -> list[dict[str, Any]]:
    """Return messages with their `{"type": "image"}` parts replaced by a picture.

    Raises:
        UsageError: If there is no such part: the model would describe what it cannot see.
    """
    part = {"type": "image_url", "image_url": {"url": url}}
    return replace_picture(messages, part)


def replace_picture(
    messages: Sequence[Mapping[str, Any]], picture: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return messages with their `{"type": "image"}` parts replaced by another part.

    Raises:
        UsageError: If there is no such part.
    """
    found = False
    placed: list[dict[str, Any]] = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            found |= any(part["type"] == "image" for part in content)
            content = [picture if part["type"] == "image" else part for part in content]
        placed.append({**message, "content": content})
    if not found:
        raise UsageError("the prompt has no place for the picture", "add a part of type image")
    return placed


def fit(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture with its longest side at most `side` pixels; a smaller one as it is."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(length * side / longest)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
