"""One vector for each label, computed once and kept on disk.

A matrix is kept under what it depends on: the model's digest, the head, the pooling order and what
is said of each label. It is computed in parts that are kept as they come, so that a run that is
stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from domainclip import paths
from domainclip.data.packed import fingerprint
from domainclip.errors import DataError, UsageError

from .candidates import Candidates
from .encoding import Encoder
from .prompts import embed_labels

PART = 4096
"""Labels that are computed between two writes."""
EXACT = 1 << 23
"""Numbers up to which a matrix is kept in single precision; above, in half: 1e-3 of a logit."""
BLOCK = 1 << 16
"""Labels of a half-precision matrix that are widened at a time."""


class LabelMatrix:
    """Unit vectors of labels, shape (n, dim), in memory or mapped from disk.

    Args:
        vectors: The vectors, single or half precision.
    """

    def __init__(self, vectors: NDArray[np.float32] | NDArray[np.float16]) -> None:
        self.vectors = vectors
        exact = vectors.dtype == np.float32
        self._whole = torch.from_numpy(np.array(vectors)) if exact else None

    @classmethod
    def of(cls, vectors: NDArray[Any], count: int) -> LabelMatrix:
        """Return ready vectors of so many labels.

        Raises:
            UsageError: If they are not of so many, or no rows of floating numbers.
        """
        if vectors.ndim != 2 or len(vectors) != count:
            raise UsageError(
                f"the vectors have the shape {vectors.shape}, for {count} labels",
                f"give one row a label, ({count}, dim)",
            )
        if vectors.dtype not in (np.float32, np.float16):
            raise UsageError(
                f"the vectors are of {vectors.dtype}", "give them as float32 or float16"
            )
        return cls(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def features(self) -> Tensor:
        """The vectors in single precision, shape (n, dim)."""
        return torch.from_numpy(np.array(self.vectors, dtype=np.float32))

    def take(self, rows: NDArray[np.int64]) -> LabelMatrix:
        """Return some of the labels, in the order of `rows`."""
        return LabelMatrix(self.vectors[rows])

    def multiply(self, features: Tensor) -> Tensor:
        """Return cosines, shape (m, n), with features of shape (m, dim), on their device."""
        if self._whole is not None:
            self._whole = self._whole.to(features.device)
            return features @ self._whole.T
        found = features.new_empty(len(features), len(self))
        for start in range(0, len(self), BLOCK):
            block = torch.from_numpy(np.array(self.vectors[start : start + BLOCK]))
            found[:, start : start + BLOCK] = features @ block.to(features.device).float().T
        return found


def find_labels(
    encoder: Encoder, candidates: Candidates, head: str, *, progress: bool = False
) -> LabelMatrix:
    """Return the vectors of candidates from the cache, else compute and keep them.

    Those of a model that is only in memory are not kept.

    Args:
        encoder: The model; it is loaded only where something has to be computed.
        candidates: What is said of each label.
        head: The head that they will be compared under.
        progress: Draw a progress bar on standard error.
    """
    if not encoder.lasts:
        return LabelMatrix(_narrowed(_join(_embed(encoder, candidates, head, None, progress))))
    if candidates.whole is not None and candidates.rows is not None:
        kept = _read(_file(encoder, candidates.whole, head))
        if kept is not None and len(kept) == len(candidates.whole):
            return LabelMatrix(kept).take(candidates.rows)
    file = _file(encoder, candidates, head)
    kept = _read(file)
    if kept is not None and len(kept) == len(candidates):
        return LabelMatrix(kept)
    parts = file.with_suffix(".parts")
    kept = _narrowed(_join(_embed(encoder, candidates, head, parts, progress)))
    if not _write(file, kept):
        print(f"warning: the labels cannot be kept in {file.parent}", file=sys.stderr)
    shutil.rmtree(parts, ignore_errors=True)
    return LabelMatrix(kept)


def _file(encoder: Encoder, candidates: Candidates, head: str) -> Path:
    name = fingerprint(
        "labels", encoder.digest, head, candidates.pooling, len(candidates), candidates.digest
    )
    return paths.cache_dir("labels") / f"{name}.npy"


def _read(file: Path) -> NDArray[np.float32] | NDArray[np.float16] | None:
    """Return a kept matrix, mapped; None where there is none that can be used."""
    try:
        found = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and found.dtype in (np.float32, np.float16) else None


def _embed(
    encoder: Encoder, candidates: Candidates, head: str, parts: Path | None, progress: bool
) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of candidates part by part; parts that are in a folder are read."""
    starts = range(0, len(candidates), PART)
    bar = tqdm(
        total=len(candidates), desc="labels", unit=" labels", file=sys.stderr, dynamic_ncols=True,
        disable=not progress or len(starts) == 1,
    )  # fmt: skip
    for start in starts:
        rows = range(start, min(start + PART, len(candidates)))
        part = parts / f"{start:09d}.npy" if parts and len(starts) > 1 else None
        vectors = _read(part) if part else None
        if vectors is None or len(vectors) != len(rows):
            said = [candidates.texts(row) for row in rows]
            found = embed_labels(encoder.network, said, candidates.pooling, head=head)
            vectors = found.cpu().numpy()
            if part:
                _write(part, vectors)
        yield np.asarray(vectors, dtype=np.float32)
        bar.update(len(rows))
    bar.close()


def _join(parts: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the vectors of all parts.

    Raises:
        DataError: If one is not finite.
    """
    whole = np.concatenate([*parts])
    if not np.isfinite(whole).all():
        raise DataError("some labels have vectors that are not finite", "the weights are broken")
    return whole


def _narrowed(whole: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.float16]:
    """Return vectors in the number format that they are kept in."""
    return whole if whole.size <= EXACT else whole.astype(np.float16)


def _write(file: Path, array: NDArray[np.floating]) -> bool:
    """Write an array whole or not at all; return whether it could be written."""
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as opened:
            np.save(opened, array)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        return False
    return True
