"""Reads one picture safely, whatever it comes as, into 8-bit RGB."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from domainclip.errors import DataError

MAX_PIXELS = 200_000_000
"""The limit where a caller sets none."""

Source: TypeAlias = str | PathLike[str] | bytes | NDArray[np.generic] | Image.Image
Reader: TypeAlias = Callable[[str | bytes], Image.Image]


class UnreadableImage(DataError):
    """A picture that cannot be read.

    Args:
        where: Its path, or "" where it has none.
        reason: What is wrong with it.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.where, self.reason = where, reason

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str]]:
        """Pickle what it was made from, so that it crosses processes."""
        return type(self), (self.where, self.reason)


def read_image(
    source: Source,
    *,
    domain_reader: Reader | None = None,
    max_pixels: int = MAX_PIXELS,
    side: int | None = None,
) -> Image.Image:
    """Read a picture as RGB: upright by its EXIF tag, first frame, transparency on white.

    Args:
        source: A path, encoded bytes, pixels of shape (height, width[, 3 or 4]), or a Pillow image.
        domain_reader: Opens what Pillow cannot.
        max_pixels: A picture of more pixels is refused by its header, before it is decoded.
        side: If given, a JPEG may be decoded smaller, its shortest side at least twice this.

    Raises:
        UnreadableImage: If it is missing, too large, truncated or no picture.
    """
    where = str(source) if isinstance(source, str | PathLike) else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters raises
            if isinstance(source, np.ndarray):
                return _to_rgb(_from_array(source))
            if isinstance(source, Image.Image):
                _check_size(where, source, max_pixels)
                return _to_rgb(_upright(source))
            with closing(_open(source, domain_reader)) as image:
                _check_size(where, image, max_pixels)
                if side and image.format == "JPEG":
                    least = 2 * side / min(image.size)
                    image.draft(None, (int(image.width * least) + 1, int(image.height * least) + 1))
                return _to_rgb(_upright(image))
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage(where, "the file is missing") from None
    except UnidentifiedImageError:
        raise UnreadableImage(where, "not a picture that can be opened") from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise UnreadableImage(where, _reason(error)) from error


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height by the header alone; None where Pillow cannot tell."""
    try:
        with _open(data, None) as image:
            return image.size
    except Exception:  # whatever a broken file leads a decoder to
        return None


def square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return the centre square of an RGB picture, scaled: uint8, shape (side, side, 3).

    It is the shortest side resized to `side` and the centre cropped, without the large picture in
    between that a long narrow one would need.
    """
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def shrink(data: bytes, side: int = 512) -> bytes:
    """Return an encoded picture with its shortest side at most `side` pixels.

    A smaller one, and one that cannot be read, comes back as it is.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if min(image.size) <= side:
                return data
        picture = read_image(data, side=side)
    except (DataError, OSError, Image.DecompressionBombError):
        return data
    scale = side / min(picture.size)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=95)
    return out.getvalue()


_opening = threading.Lock()


def _open(source: str | PathLike[str] | bytes, reader: Reader | None) -> Image.Image:
    """Open a file by its header alone."""
    if isinstance(source, bytes):
        if not source:
            raise UnreadableImage("", "the file is empty")
        opened: io.BytesIO | Path = io.BytesIO(source)
    else:
        opened = Path(source)
        if opened.is_dir():
            raise UnreadableImage(str(source), "a folder, not a picture")
        if opened.stat().st_size == 0:
            raise UnreadableImage(str(source), "the file is empty")
    with _opening:  # our limit stands in for Pillow's, which is one for the whole process
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(opened)
        except UnidentifiedImageError:
            if reader is None:
                raise
        finally:
            Image.MAX_IMAGE_PIXELS = theirs
    return reader(source if isinstance(source, bytes) else str(source))


def _check_size(where: str, image: Image.Image, max_pixels: int) -> None:
    if min(image.size) < 1:
        raise UnreadableImage(where, "it has no pixels")
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            where,
            f"{image.width} x {image.height} pixels are more than the limit of {max_pixels:,} "
            "(data.max_pixels)",
        )


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block is no reason to lose the picture
        return image.copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(pixels: NDArray[np.generic]) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.shape[2:] not in ((), (3,), (4,)):
        raise UnreadableImage("", f"pixels of shape {pixels.shape} are no picture")
    return Image.fromarray(_to_8_bit(pixels))


def _to_8_bit(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale whole numbers by the range of their type, real numbers by their own range."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == bool:
        return np.where(pixels, 255, 0).astype(np.uint8)
    values = np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(pixels.dtype, np.integer) and low >= 0 and high <= 65535:
        # Pillow gives some 16-bit pictures as 32-bit ones
        low, high = 0.0, 255.0 if high <= 255 and pixels.dtype.itemsize > 2 else 65535.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    scaled = np.rint(scaled).clip(0, 255)
    return np.asarray(scaled, dtype=np.uint8)


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if "truncated" in said or isinstance(error, EOFError):
        return "the file is truncated"
    return f"it cannot be decoded ({said or type(error).__name__})"
