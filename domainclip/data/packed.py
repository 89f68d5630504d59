"""The packed cache: pictures of one side in one memory-mapped file, made once, in parallel."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domainclip import paths
from domainclip.errors import DataError

from .parallel import run_parallel

FORMAT = 1
"""Raise this when the files below change their meaning: every older cache is then made anew."""

PIXELS, INDEX = "pixels.npy", "index.json"

Job: TypeAlias = Callable[[int], tuple[NDArray[np.uint8], dict[str, Any]]]
"""Makes picture number i: pixels of shape (side, side, 3), and a note that is kept beside them.

It raises `DataError` for a picture that cannot be read. Worker processes pickle it where the system
cannot fork.
"""


class Pictures(Protocol):
    """Square pictures of one side, by number; packed ones and ones decoded at every use."""

    @property
    def side(self) -> int:
        """Side in pixels."""

    @property
    def unreadable(self) -> Mapping[int, str]:
        """The reason, by number, for each picture that could not be read."""

    def __len__(self) -> int:
        """Return how many there are, unreadable ones included."""

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pictures of the given numbers, shape (len(rows), side, side, 3)."""


@dataclass(frozen=True)
class Packed:
    """Pictures in a memory-mapped file."""

    folder: Path
    side: int
    notes: list[dict[str, Any] | None] = field(repr=False)
    """What the job noted of each picture; None where it could not be read."""
    unreadable: Mapping[int, str]
    """The reason, by number, for each picture that could not be read; its pixels are zero."""
    pixels: NDArray[np.uint8] = field(repr=False)
    """Shape (n, side, side, 3)."""

    def __len__(self) -> int:
        """Return how many there are, unreadable ones included."""
        return len(self.notes)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pictures of the given numbers, shape (len(rows), side, side, 3)."""
        return self.pixels[np.asarray(rows, dtype=np.int64)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder, not the pixels."""
        return open_packed, (self.folder,)


def fingerprint(*parts: object) -> str:
    """Return a short digest of what a cache is made from; parts are anything JSON can say."""
    said = json.dumps([FORMAT, *parts], sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def open_packed(folder: Path) -> Packed:
    """Open a finished cache folder."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    pixels = np.load(folder / PIXELS, mmap_mode="r")
    return Packed(
        folder,
        int(index["side"]),
        index["notes"],
        {int(row): reason for row, reason in index["unreadable"]},
        np.asarray(pixels),
    )


def fill(name: str, job: Job, n: int, side: int, *, title: str, quiet: bool = False) -> Packed:
    """Open the cache of this name, or make it: all of it or nothing, whoever else makes it too.

    Args:
        name: Folder name below the cache of pictures; the fingerprint of what the job depends on.
        job: Makes one picture.
        n: Number of pictures.
        side: Side of a picture in pixels.
        title: What the progress bar says.
        quiet: Show no progress bar.

    Raises:
        DataError: If the disk is full, the folder cannot be written, or a worker process died.
    """
    folder = paths.cache_dir("pictures") / name
    partial = folder.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
    with _explained(folder.parent):
        if (folder / INDEX).is_file():
            try:
                return open_packed(folder)
            except (ValueError, KeyError, EOFError, FileNotFoundError):  # damaged since: made anew
                shutil.rmtree(folder)
        try:
            _drop_abandoned(folder)
            partial.mkdir(parents=True)
            notes, unreadable = _make(partial / PIXELS, job, n, side, title, quiet)
            index = {"format": FORMAT, "side": side, "notes": notes, "unreadable": unreadable}
            (partial / INDEX).write_text(json.dumps(index), encoding="utf-8")
            try:
                partial.rename(folder)
            except OSError:
                if not (folder / INDEX).is_file():  # else another process was first
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return open_packed(folder)


def _make(
    path: Path, job: Job, n: int, side: int, title: str, quiet: bool
) -> tuple[list[dict[str, Any] | None], list[tuple[int, str]]]:
    from tqdm import tqdm

    offset = _reserve(path, n, side)
    notes: list[dict[str, Any] | None] = [None] * n
    unreadable: list[tuple[int, str]] = []
    bar = tqdm(total=n, desc=title, unit=" pictures", file=sys.stderr, disable=quiet or None)
    with bar:
        for rows, made in run_parallel(
            _Writer(job, path, offset, side), n, f"writing {path.parent}"
        ):
            for row, (note, reason) in zip(rows, made, strict=True):
                notes[row] = note
                if note is None:
                    unreadable.append((row, reason))
            bar.update(len(rows))
    return notes, sorted(unreadable)


def _reserve(path: Path, n: int, side: int) -> int:
    """Create the file of pixels with its space taken, and return where the pixels begin in it."""
    shape = (n, side, side, 3)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        offset = file.tell()
        total = offset + int(np.prod(shape, dtype=np.int64))
        file.flush()
        if hasattr(os, "posix_fallocate"):  # a full disk is found now, not after an hour
            os.posix_fallocate(file.fileno(), 0, total)
        else:
            file.truncate(total)
    return offset


@dataclass(frozen=True)
class _Writer:
    """Makes a range of pictures and writes them to their places in the file."""

    job: Job
    path: Path
    offset: int
    side: int

    def __call__(self, rows: range) -> list[tuple[dict[str, Any] | None, str]]:
        shape = (self.side, self.side, 3)
        made: list[tuple[dict[str, Any] | None, str]] = []
        # written, not mapped: on a full disk a write raises where a mapped page kills the process
        with self.path.open("r+b") as file:
            for row in rows:
                try:
                    pixels, note = self.job(row)
                except DataError as error:
                    made.append((None, error.message))
                    continue
                if pixels.shape != shape or pixels.dtype != np.uint8:
                    raise DataError(
                        f"picture {row} came as {pixels.dtype} {pixels.shape}, not uint8 {shape}"
                    )
                file.seek(self.offset + row * pixels.nbytes)
                file.write(pixels.tobytes())
                made.append((note, ""))
        return made


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what the system says of a disk into what a person can do about it."""
    try:
        yield
    except OSError as error:
        way = "set DOMAINCLIP_HOME to a folder on another disk"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"the disk is full: pictures cannot be packed into {folder}",
                f"free some space, or {way}",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise DataError(
                f"no permission to write pictures into {folder}",
                f"make it writable, or {way.replace('on another disk', 'of your own')}",
            ) from error
        raise


def _drop_abandoned(folder: Path) -> None:
    """Remove what a killed process left of this cache more than a day ago."""
    for path in folder.parent.glob(f".{folder.name}.*"):
        with suppress(FileNotFoundError):  # another process was first
            if time.time() - path.stat().st_mtime > 86400:
                shutil.rmtree(path, ignore_errors=True)
