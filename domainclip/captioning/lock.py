"""One writer a folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from domainclip.errors import UsageError

PATIENCE = 0.3
"""Seconds to wait for a lock that another process only looks at."""


class Lock:
    """Keeps a file locked until it is closed or the process ends.

    Args:
        path: The lock's file, which says who holds it.
        others: Further lock files that nobody may hold, such as those of another division.

    Raises:
        UsageError: If another process holds it.
    """

    def __init__(self, path: Path, others: list[Path] | None = None) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        until = time.monotonic() + PATIENCE
        while not _take(self._file):
            if time.monotonic() > until:
                os.close(self._file)
                raise _held(path)
            time.sleep(0.05)
        for other in others or ():
            if _is_held(other):
                os.close(self._file)
                raise _held(other)
        who = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(who).encode(), 0)

    def close(self) -> None:
        """Let others write."""
        os.close(self._file)


def _take(file: int, shared: bool = False) -> bool:
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _take(file, shared=True)
    finally:
        os.close(file)


def _held(path: Path) -> UsageError:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        name = f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        name = "another process"
    return UsageError(
        f"{path.parent} is being written by {name}",
        "wait for it, or give each process its own part of the work: --shard 1/2 and --shard 2/2",
    )
