"""Which pictures to look at: files, folders, lists of files, and boxes cut out of them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from domainclip.data.images import Reader, UnreadableImage, read_image
from domainclip.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".jp2")
"""Files of a folder that are taken for pictures; a file that is named itself is always taken."""
LISTS = (".csv", ".tsv")
FILE_COLUMNS = ("file", "file_name", "filename", "path", "image")
BOX = ("x", "y", "w", "h")


@dataclass(frozen=True)
class Crop:
    """A box cut out of a picture before it is looked at, in pixels of the upright picture."""

    file: str
    x: float
    y: float
    w: float
    h: float

    def __str__(self) -> str:
        return self.file


Picture: TypeAlias = str | Path | bytes | Crop | Image.Image | NDArray[Any] | Tensor
"""A path, encoded bytes, a crop, a Pillow image, pixels of shape (height, width[, 3]), or a tensor
of shape (3, height, width), of bytes or of numbers from 0 to 1."""


def read_picture(source: Picture, *, reader: Reader | None = None, side: int = 0) -> Image.Image:
    """Read one picture as RGB.

    Args:
        source: The picture.
        reader: Opens what Pillow cannot.
        side: If given, a whole JPEG may be decoded smaller, its shortest side at least twice this.

    Raises:
        UnreadableImage: If it cannot be read, or a box lies outside.
    """
    if isinstance(source, Tensor):
        pixels = source.detach().cpu()
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
            pixels = pixels.permute(1, 2, 0)
        return read_image(pixels.numpy())
    if not isinstance(source, Crop):
        return read_image(source, domain_reader=reader, side=side or None)
    whole = read_image(source.file, domain_reader=reader)
    left, top = round(source.x), round(source.y)
    right, bottom = round(source.x + source.w), round(source.y + source.h)
    box = max(left, 0), max(top, 0), min(right, whole.width), min(bottom, whole.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise UnreadableImage(
            source.file,
            f"the box {source.x:g},{source.y:g},{source.w:g},{source.h:g} holds nothing of its "
            f"{whole.width} x {whole.height} pixels",
        )
    return whole.crop(box)


def is_one(images: Any) -> bool:
    """Tell a single picture from several, as both are arrays or can be iterated."""
    if isinstance(images, Tensor):
        return images.ndim == 3 or (images.ndim == 2 and images.dtype == torch.uint8)
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in (3, 4))
    return isinstance(images, str | bytes | Path | Crop | Image.Image)


def are_features(images: Any) -> bool:
    """Tell unit vectors of pictures from pictures: a floating array of two dimensions."""
    if isinstance(images, Tensor):
        return images.ndim == 2 and images.is_floating_point()
    return isinstance(images, np.ndarray) and images.ndim == 2 and images.dtype.kind == "f"


def find_pictures(names: Sequence[str]) -> Iterator[str | Crop]:
    """Yield what is named: files, the pictures of folders, and the rows of lists.

    Args:
        names: Files and folders; a CSV or TSV with a column `file` and, for boxes, `x,y,w,h` in
            pixels; or `-` for the same, or one file a line, from standard input.

    Raises:
        DataError: If a list has no column of files, or a box is no box.
    """
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            yield from _read_list(sys.stdin, "standard input")
        elif path.is_dir():
            for found in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
                if found.suffix.lower() in PICTURES and not hidden and found.is_file():
                    yield str(found)
        elif path.suffix.lower() in LISTS and path.is_file():
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from _read_list(file, name, beside=path.parent)
        else:
            yield name


def _read_list(lines: Iterable[str], name: str, beside: Path | None = None) -> Iterator[str | Crop]:
    """Yield the rows of a list; paths are those of its folder, where it has one."""
    lines = iter(lines)
    first = next(lines, "")
    split = partial(csv.reader, delimiter="\t" if "\t" in first else ",", skipinitialspace=True)
    head = [cell.strip().lower() for cell in next(split([first]), [])]
    column = next((c for c in FILE_COLUMNS if c in head), None)
    if column is None:
        if beside is not None:
            raise DataError(
                f"{name}: no column of files; it has {', '.join(head) or 'nothing'}",
                f"call one of them {FILE_COLUMNS[0]}",
            )
        yield from (line.rstrip("\r\n") for line in chain([first], lines) if line.strip())
        return
    boxed = [c for c in BOX if c in head]
    if boxed and len(boxed) < len(BOX):
        raise DataError(f"{name}: a box has x, y, w and h; there is {', '.join(boxed)} alone")
    for number, row in enumerate(split(lines), 2):
        cells = dict(zip(head, row, strict=False))
        file = cells.get(column, "").strip()
        if not file:
            continue
        if beside is not None and not Path(file).expanduser().is_absolute():
            file = str(beside / file)
        if not boxed or not any(cells.get(c, "").strip() for c in BOX):
            yield file
            continue
        try:
            box = [float(cells[c]) for c in BOX]
        except (KeyError, ValueError):
            said = ",".join(cells.get(c, "") for c in BOX)
            raise DataError(f"{name}, line {number}: {said} is no box x,y,w,h") from None
        if not all(map(np.isfinite, box)) or min(box[2:]) <= 0:
            raise DataError(f"{name}, line {number}: a box needs a width and a height above 0")
        yield Crop(file, *box)
