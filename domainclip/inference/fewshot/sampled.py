"""Pictures of a data source to learn from: read ahead by threads, their vectors kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from domainclip.data.decoding import digest, read_bytes
from domainclip.data.images import UnreadableImage, read_image
from domainclip.data.samples import Samples
from domainclip.inference.encoding import Encoder

from .kept import KeptVectors
from .support import Vectors


class SamplePictures:
    """Some samples of a source.

    Args:
        encoder: Looks at their pictures.
        samples: The source.
        rows: Which samples, shape (n,).
        captions: Captions of samples by id, beside those of the source.
    """

    def __init__(
        self,
        encoder: Encoder,
        samples: Samples,
        rows: NDArray[np.int64],
        captions: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.encoder, self.samples, self.rows = encoder, samples, rows
        self.names = [samples.ids[row] for row in rows]
        self.unreadable: list[tuple[str, str]] = []
        self._captions = captions or {}

    def captions(self, rows: NDArray[np.int64]) -> list[Sequence[str]]:
        """Return the captions of some pictures: those of the source, and those that were given."""
        return [
            (
                *self.samples.facts(int(self.rows[r])).captions,
                *self._captions.get(self.names[r], ()),
            )
            for r in rows
        ]

    def encode(
        self, rows: NDArray[np.int64], head: str, title: str
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return vectors of those that can be read, and which these are; known ones are kept."""
        kept = KeptVectors(self.encoder.digest, head)
        names: list[str | None] = []
        waiting: list[str] = []

        def unknown() -> Iterator[Image.Image]:
            for name, picture in self._look(rows, kept, title):
                names.append(name)
                if name is not None and picture is not None:
                    waiting.append(name)
                    yield picture

        try:
            for shown, vectors in self.encoder.stream(unknown(), head):
                kept.add(waiting[: len(shown)], vectors.cpu().numpy())
                del waiting[: len(shown)]
        finally:  # what was computed is kept, whatever ends it
            kept.write()
        good = np.array([name is not None for name in names], dtype=bool)
        return kept.take([name for name in names if name is not None]), good

    def _look(
        self, rows: NDArray[np.int64], kept: KeptVectors, title: str
    ) -> Iterator[tuple[str | None, Image.Image | None]]:
        """Yield the digest of each picture, and the picture where its vector is not kept."""
        bar = tqdm(rows.tolist(), desc=title, unit=" pictures", dynamic_ncols=True,
                   disable=None if title else True)  # fmt: skip
        threads = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads) as pool:
            source = iter(bar)
            while some := [*islice(source, 8 * threads)]:
                looked = [(row, pool.submit(self._read, row, kept)) for row in some]
                for row, future in looked:
                    try:
                        yield future.result()
                    except UnreadableImage as error:
                        self.unreadable.append((self.names[row], error.reason))
                        yield None, None

    def _read(self, row: int, kept: KeptVectors) -> tuple[str, Image.Image | None]:
        given = self.samples.read(int(self.rows[row])).image
        if isinstance(given, np.ndarray):
            name = digest(given.tobytes())
            return name, None if name in kept else Image.fromarray(given)
        data = given if isinstance(given, bytes) else read_bytes({"path": given, "bytes": None})
        name = digest(data)
        if name in kept:
            return name, None
        reader, side = self.samples.domain.read_image, self.encoder.network.preprocess.shortest
        return name, read_image(data, domain_reader=reader, side=side)
