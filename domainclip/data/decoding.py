"""Pictures of a source as squares of one side: packed once, or decoded at every use."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import DataError

from .images import MAX_PIXELS, Reader, UnreadableImage, read_image, square
from .packed import Packed, fill, fingerprint
from .parallel import run_parallel


@dataclass(frozen=True)
class Decoder:
    """The job of decoding rows of a source."""

    images: Any
    """A `datasets.Dataset` with the column `image`, undecoded."""
    rows: NDArray[np.int64]
    side: int
    reader: Reader | None = None
    max_pixels: int = MAX_PIXELS

    def __call__(self, index: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Return the centre square of one picture, and the digest of its file.

        Raises:
            UnreadableImage: If it cannot be read.
        """
        data = read_bytes(self.images[int(self.rows[index])]["image"])
        picture = read_image(
            data, domain_reader=self.reader, max_pixels=self.max_pixels, side=self.side
        )
        return square(picture, self.side), {"digest": digest(data)}


def read_bytes(record: Mapping[str, Any]) -> bytes:
    """Return the encoded bytes of an undecoded picture, a mapping of `path` and `bytes`.

    Raises:
        UnreadableImage: If its file cannot be read.
    """
    if record["bytes"] is not None:
        return bytes(record["bytes"])
    path = record["path"] or ""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableImage(path, "the file is missing") from None
    except OSError as error:
        said = error.strerror or str(error)
        raise UnreadableImage(path, f"the file cannot be read ({said.lower()})") from error


def digest(data: bytes) -> str:
    """Return a digest of the content of a picture's file."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def pack(decoder: Decoder, stamps: Sequence[object], *, title: str, quiet: bool = False) -> Packed:
    """Decode every picture once into the packed cache, or open it where that was done before.

    Args:
        decoder: What to decode.
        stamps: Of each picture what changes with it.
        title: What the progress bar says.
        quiet: Show no progress bar.

    Raises:
        DataError: If the cache cannot be written.
    """
    reader = decoder.reader
    name = fingerprint(
        "source",
        list(stamps),
        decoder.side,
        decoder.max_pixels,
        f"{reader.__module__}.{getattr(reader, '__qualname__', '')}" if reader else "",
    )
    return fill(name, decoder, len(stamps), decoder.side, title=title, quiet=quiet)


@dataclass(frozen=True)
class _Trial:
    """The job of telling why pictures cannot be read: "" for each that can."""

    decoder: Decoder

    def __call__(self, rows: range) -> list[str]:
        return [self._reason(row) for row in rows]

    def _reason(self, row: int) -> str:
        try:
            self.decoder(row)
        except UnreadableImage as error:
            return error.reason
        return ""


def find_unreadable(decoder: Decoder) -> dict[int, str]:
    """Return number and reason of each picture that cannot be read, by reading all once."""
    found: dict[int, str] = {}
    trial, n = _Trial(decoder), len(decoder.rows)
    for rows, reasons in run_parallel(trial, n, "reading pictures"):
        found |= {row: why for row, why in zip(rows, reasons, strict=True) if why}
    return found


@dataclass
class Decoded:
    """Pictures that are decoded whenever they are read, for sets too large to pack.

    One that can no longer be read is black, with a warning.
    """

    decoder: Decoder
    unreadable: dict[int, str] = field(default_factory=dict)

    @property
    def side(self) -> int:
        """Side in pixels."""
        return self.decoder.side

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.decoder.rows)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pictures of the given numbers, shape (len(rows), side, side, 3)."""
        pixels = np.zeros((len(rows), self.side, self.side, 3), np.uint8)
        for at, row in enumerate(np.asarray(rows).tolist()):
            try:
                pixels[at] = self.decoder(row)[0]
            except DataError as error:
                if row not in self.unreadable:
                    warnings.warn(f"shown as black: {error.message}", stacklevel=2)
                self.unreadable[row] = error.message
        return pixels
