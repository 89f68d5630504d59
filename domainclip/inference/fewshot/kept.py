"""Unit vectors of pictures, kept on disk by the pictures' content, so that none is computed twice.

They lie in parts that are written as they come: a run that is stopped goes on where it was, and one
with other shots, labels or splits uses what is there.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from domainclip import paths
from domainclip.data.packed import fingerprint
from domainclip.errors import DataError

from .support import Vectors

PART = 256
"""Pictures between two writes."""
ENDING = ".safetensors"


class KeptVectors:
    """Vectors of one model and head.

    Args:
        digest: What tells the model from any other.
        head: What it looked with.
    """

    def __init__(self, digest: str, head: str) -> None:
        self.folder = paths.cache_dir("fewshot") / fingerprint(digest, head)
        self._where: dict[str, tuple[Path, int]] = {}
        self._new: dict[str, Vectors] = {}
        for part in sorted(self.folder.glob(f"*{ENDING}")):
            with contextlib.suppress(SafetensorError, OSError, ValueError, TypeError):
                with safe_open(part, framework="np") as opened:
                    names = json.loads((opened.metadata() or {})["pictures"])
                self._where |= {name: (part, row) for row, name in enumerate(names)}

    def __contains__(self, name: str) -> bool:
        return name in self._where or name in self._new

    def add(self, names: Sequence[str], vectors: Vectors) -> None:
        """Take vectors, shape (n, dim), of pictures by the digests of their content.

        Raises:
            DataError: If they cannot be written.
        """
        self._new.update(zip(names, vectors, strict=True))
        if len(self._new) >= PART:
            self.write()

    def write(self) -> None:
        """Write what was taken since the last time, whole or not at all.

        Raises:
            DataError: If it cannot be written.
        """
        if not self._new:
            return
        names = [*self._new]
        part = self.folder / f"{fingerprint(names)}{ENDING}"
        partial = part.with_suffix(f".{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            about = {"pictures": json.dumps(names)}
            save_file({"vectors": np.stack([*self._new.values()])}, partial, metadata=about)
            partial.replace(part)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{self.folder} cannot be written: {error}", "DOMAINCLIP_HOME names another place"
            ) from error
        self._where |= {name: (part, row) for row, name in enumerate(names)}
        self._new = {}

    def take(self, names: Sequence[str]) -> Vectors:
        """Return vectors of pictures that are all there, shape (n, dim)."""
        by_part: defaultdict[Path, list[tuple[int, int]]] = defaultdict(list)
        found: dict[int, Vectors] = {}
        for i, name in enumerate(names):
            if name in self._new:
                found[i] = self._new[name]
            else:
                part, row = self._where[name]
                by_part[part].append((i, row))
        for part, rows in by_part.items():
            with safe_open(part, framework="np") as opened:
                vectors = opened.get_tensor("vectors")
            found |= {i: vectors[row] for i, row in rows}
        if not found:
            return np.zeros((0, 0), np.float32)
        return np.stack([found[i] for i in range(len(names))])
