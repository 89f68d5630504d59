"""A file that rows are appended to, one JSON line each, whole after any kill."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from domainclip.data.captions import read_journal
from domainclip.errors import DataError

SYNC = 1.0
"""Seconds at most between two rows being safe from a power cut; a kill loses none of them."""


class Journal:
    """An append-only file of rows.

    A row is handed to the system in one piece before `append` returns, so that killing the process
    loses none; a line that a power cut tore is cut off at the next start.

    Args:
        path: The file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        data = path.read_bytes()
        rows, whole = read_journal(data)
        if whole < len(data):
            os.ftruncate(self._file, whole)
        self._bytes, self._rows, self._synced = whole, len(rows), time.monotonic()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Raises:
            DataError: If it cannot be written; the file is then as it was before.
        """
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, "No space left on device")
            if time.monotonic() - self._synced > SYNC:
                self.sync()
        except OSError as error:
            os.ftruncate(self._file, self._bytes)
            raise unwritable(self.path, error) from error
        self._bytes += len(line)
        self._rows += 1

    def sync(self) -> None:
        """Have everything written to the disk itself."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def read(self) -> tuple[list[dict[str, Any]], str]:
        """Return the rows, and the digest of what they were read from."""
        data = self.path.read_bytes()
        return read_journal(data)[0], hashlib.sha256(data).hexdigest()

    def clear(self) -> None:
        """Drop all rows; they are elsewhere."""
        os.ftruncate(self._file, 0)
        self.sync()
        self._bytes = self._rows = 0

    def close(self) -> None:
        """Write everything to the disk and close."""
        self.sync()
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def unwritable(path: Path, error: OSError) -> DataError:
    """Say why a file cannot be written, and the way on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"the disk is full: {path} cannot be written",
            "free some space and run the same command again; what was written is kept",
        )
    said = (error.strerror or str(error)).lower()
    return DataError(f"{path} cannot be written ({said})", "choose another folder with --out")
