"""Pictures to learn from or to choose on, turned into unit vectors some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from domainclip.data.decoding import digest
from domainclip.data.images import UnreadableImage
from domainclip.errors import DataError
from domainclip.inference.encoding import Encoder
from domainclip.inference.pictures import Crop, Picture

from .support import Vectors, to_unit

BOTH = "names+captions"
"""In the place of a head: what both heads see, side by side."""


class BothHeads(Encoder):
    """An encoder that can also give what both heads see, from one look at a picture."""

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor, head: str = "names") -> Tensor:
        """Return unit vectors, shape (n, dim), of normalised pixels; (n, 2 dim) for `BOTH`."""
        if head != BOTH:
            return super().encode_pixels(pixels, head)
        pooled = self.network.pool(pixels.to(self.place))
        sides = [self.network.project(pooled, one) for one in ("names", "captions")]
        return torch.cat(sides, dim=-1).float()


class Gallery(Protocol):
    """Pictures that are looked at when they are needed."""

    @property
    def names(self) -> Sequence[str]:
        """What tells each picture."""
        ...

    @property
    def unreadable(self) -> Sequence[tuple[str, str]]:
        """(name, reason) of pictures that were asked for and cannot be read."""
        ...

    def captions(self, rows: NDArray[np.int64]) -> list[Sequence[str]]:
        """Return the captions of some pictures, empty where there is none."""
        ...

    def encode(
        self, rows: NDArray[np.int64], head: str, title: str
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return vectors of those that can be read, and which these are, shape (n,).

        Args:
            rows: Which pictures, shape (n,).
            head: `names`, or `BOTH`.
            title: What a progress bar says; "" for none.
        """
        ...


class GivenVectors:
    """Pictures that are unit vectors already.

    Args:
        vectors: Shape (n, dim); brought to length one.
        captions: Captions of each, or None.

    Raises:
        DataError: If one is no number, or has no length.
    """

    def __init__(self, vectors: Any, captions: Sequence[Sequence[str]] | None = None) -> None:
        given = vectors.detach().cpu().numpy() if isinstance(vectors, Tensor) else vectors
        given = np.asarray(given, dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(given).all(axis=1) | ~given.any(axis=1))
        if len(bad):
            raise DataError(
                f"the vector of picture {bad[0] + 1} of {len(given)} has no direction",
                "leave out pictures whose vector is not finite or all zeros",
            )
        self.vectors: Vectors = to_unit(given)
        self.unreadable: list[tuple[str, str]] = []
        self._captions = captions

    @property
    def names(self) -> list[str]:
        """A digest of each vector."""
        return [digest(vector.tobytes()) for vector in self.vectors]

    def captions(self, rows: NDArray[np.int64]) -> list[Sequence[str]]:
        """Return the captions of some pictures."""
        return _pick(self._captions, rows)

    def encode(
        self, rows: NDArray[np.int64], head: str, title: str
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the vectors, the same for any head."""
        return self.vectors[rows], np.ones(len(rows), dtype=bool)


class GivenPictures:
    """Pictures in any form that the encoder reads.

    Args:
        encoder: Looks at them.
        images: The pictures.
        captions: Captions of each, or None.
    """

    def __init__(
        self,
        encoder: BothHeads,
        images: Iterable[Picture],
        captions: Sequence[Sequence[str]] | None = None,
    ) -> None:
        self.encoder, self.images = encoder, list(images)
        self.names = [_name(image, i) for i, image in enumerate(self.images, 1)]
        self.unreadable: list[tuple[str, str]] = []
        self._captions = captions

    def captions(self, rows: NDArray[np.int64]) -> list[Sequence[str]]:
        """Return the captions of some pictures."""
        return _pick(self._captions, rows)

    def encode(
        self, rows: NDArray[np.int64], head: str, title: str
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return vectors of those that can be read, and which these are."""
        chosen = [self.images[row] for row in rows]
        reasons: dict[int, str] = {}

        def note(image: Any, error: UnreadableImage) -> None:
            reasons[id(image)] = error.reason

        shown = tqdm(
            chosen,
            desc=title,
            unit=" pictures",
            dynamic_ncols=True,
            disable=None if title else True,
        )
        found = [vectors.cpu().numpy() for _, vectors in self.encoder.stream(shown, head, note)]
        good = np.array([id(image) not in reasons for image in chosen], dtype=bool)
        broken = [row for row, fine in zip(rows.tolist(), good, strict=True) if not fine]
        self.unreadable += [(self.names[row], reasons[id(self.images[row])]) for row in broken]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32), good


def _pick(captions: Sequence[Sequence[str]] | None, rows: NDArray[np.int64]) -> list[Sequence[str]]:
    if captions is None:
        return [()] * len(rows)
    said = [captions[row] for row in rows]
    return [(one,) if isinstance(one, str) else one for one in said]


def _name(image: Any, number: int) -> str:
    return str(image) if isinstance(image, str | Path | Crop) else f"picture {number}"
