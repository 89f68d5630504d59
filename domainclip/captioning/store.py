"""Where captions are kept: a journal that rows are appended to, compacted into Parquet parts."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domainclip.data.captions import (
    ABOUT,
    COLUMNS,
    SCHEMA,
    caption_files,
    read_rejected,
    read_rows,
)
from domainclip.errors import DataError

from .journal import Journal, unwritable
from .lock import Lock

FORMAT = 1
ROWS = 5000
"""Rows of a journal that are made a part."""
MADE_OF = b"domainclip.journal"
"""Key in a part's metadata: digest of the journal that it was made of."""
JSON_COLUMNS = ("settings", "checks", "details")


def name_generation(made_of: Mapping[str, Any]) -> str:
    """Return the folder name of what captions are made of: the captioner, and a digest of all."""
    said = json.dumps([FORMAT, made_of], sort_keys=True, ensure_ascii=True)
    plain = re.sub(r"[^a-z0-9]+", "-", str(made_of.get("captioner", "captions")).lower())
    return f"{plain}-{hashlib.sha256(said.encode()).hexdigest()[:10]}"


class CaptionStore:
    """Captions of one generation, as one writer sees them.

    Every row is in the journal before `append` returns; `compact` moves the journal's rows into a
    Parquet part that is there whole or not at all. Another generation is another folder.

    Args:
        folder: The folder of all generations.
        generation: What the captions are made of, in words and numbers of JSON.
        shard: (i, n): part i of n of the work, split by a digest of the sample id. Each has its own
            journal, parts and lock, so that many machines need no coordination.
        data: What the pictures were read from, kept for people and for the report.
        retry: Take samples whose caption was rejected for not done.

    Raises:
        UsageError: If another process writes the same part of the work.
        DataError: If the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        generation: Mapping[str, Any],
        shard: tuple[int, int] = (1, 1),
        *,
        data: Mapping[str, Any] | None = None,
        retry: bool = False,
    ) -> None:
        self.root = Path(folder).expanduser()
        self.generation = name_generation(generation)
        self.folder = self.root / self.generation
        self.shard = shard
        self.messages: list[str] = []
        """Corrupt parts that were set aside."""
        mine = f"{shard[0]}-of-{shard[1]}"
        self._parts = f"part-{mine}-"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [p for p in self.folder.glob("*.lock") if not p.stem.endswith(f"-{shard[1]}")]
            self._lock = Lock(self.folder / f"{mine}.lock", others)
            _drop_torn(self.folder, self._parts)
            self._journal = Journal(self.folder / f"journal-{mine}.jsonl")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._forget_compacted()
        self._say_what(generation, data)
        self._tries: Counter[str] = Counter()
        self.knowledge: dict[str, set[str]] = {}
        """Label -> the revisions of what was known of it when its captions were written."""
        self._done = self._read_done(retry)

    def left(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], int]:
        """Return which samples this shard has yet to do, and how many of its own are done.

        Args:
            ids: Sample ids.
        """
        digests = _digests(ids)
        i, n = self.shard
        ours = digests % np.uint64(n) == np.uint64(i - 1)
        done = np.isin(digests, self._done)
        return np.flatnonzero(ours & ~done), int((ours & done).sum())

    def tries(self, sample_id: str) -> int:
        """Return how often a rejected sample has been captioned; 0 unless `retry` was asked for."""
        return self._tries[sample_id]

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; mappings and lists of the columns of JSON are written as JSON.

        Raises:
            DataError: If it cannot be written.
            ValueError: If it has a column that there is not, or no sample id.
        """
        unknown = set(row) - set(COLUMNS)
        if unknown or not row.get("sample_id"):
            raise ValueError(f"no row of captions: {sorted(unknown) or 'no sample id'}")
        stamped = {"generation": self.generation, "time": _now(), **row}
        for name in JSON_COLUMNS:
            if not isinstance(stamped.get(name, ""), str):
                stamped[name] = json.dumps(stamped[name], ensure_ascii=False, default=str)
        self._journal.append(_sound(stamped))
        if len(self._journal) >= ROWS:
            self.compact()

    def compact(self) -> Path | None:
        """Move the journal's rows into a new part and return it; None where there are none.

        Raises:
            DataError: If the part cannot be written; the journal is then as it was.
        """
        rows, digest = self._journal.read()
        if not rows:
            return None
        self._journal.sync()
        schema = SCHEMA.with_metadata({MADE_OF: digest.encode()})
        numbers = [int(p.name.split(".")[0][-6:]) for p in self.folder.glob(f"{self._parts}*")]
        part = self.folder / f"{self._parts}{max(numbers, default=0) + 1:06d}.parquet"
        partial = part.with_name(f".{part.name}.tmp")
        table = pa.Table.from_pylist([{c: row.get(c) for c in COLUMNS} for row in rows], schema)
        try:
            with partial.open("wb") as file:
                pq.write_table(table, file, compression="zstd", write_page_checksum=True)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(part)
            _sync_folder(self.folder)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise unwritable(part, error) from error
        self._journal.clear()
        return part

    def close(self) -> None:
        """Compact and let others write."""
        try:
            self.compact()
        finally:
            self._journal.close()
            self._lock.close()

    def __enter__(self) -> CaptionStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _forget_compacted(self) -> None:
        """Clear a journal whose part was written before a kill came."""
        parts = sorted(self.folder.glob(f"{self._parts}*.parquet"))
        if not len(self._journal) or not parts:
            return
        try:
            part = pq.read_table(parts[-1], page_checksum_verification=True)
        except (pa.ArrowException, OSError):  # corrupt: the journal is what is left of it
            return
        if (part.schema.metadata or {}).get(MADE_OF, b"").decode() == self._journal.read()[1]:
            self._journal.clear()

    def _read_done(self, retry: bool) -> NDArray[np.uint64]:
        """Return the digests of the ids that are done, sorted; counts tries of rejected ones."""
        done: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
        newest: dict[str, tuple[str, bool]] = {}
        tries: Counter[str] = Counter()
        columns = ("sample_id", "caption", "time", "label", "knowledge_revision")
        for batch in read_rows(caption_files(self.folder), columns, self.messages):
            ids, captions, times, labels, revisions = batch.values()
            done.append(_digests(ids))
            for label, revision in set(zip(labels, revisions, strict=True)):
                self.knowledge.setdefault(label or "", set()).add(revision or "")
            if not retry:
                continue
            tries.update(ids)
            for one, caption, time in zip(ids, captions, times, strict=True):
                newest[one] = max(newest.get(one, ("", True)), (time or "", not caption))
        poor = read_rejected(self.folder) if retry else set()
        rejected = [one for one, (_, empty) in newest.items() if empty or one in poor]
        self._tries.update({one: tries[one] for one in rejected})
        return np.setdiff1d(np.concatenate(done), _digests(rejected))

    def _say_what(self, generation: Mapping[str, Any], data: Mapping[str, Any] | None) -> None:
        """Write what the generation is made of beside it, in words."""
        file = self.folder / ABOUT
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            sources = list(about.get("data", []))
        except (OSError, ValueError, AttributeError):
            about, sources = {}, []
        if data and dict(data) not in sources:
            sources.append(dict(data))
        about = {
            "format": FORMAT,
            "generation": self.generation,
            "made_of": dict(generation),
            "created": about.get("created") or _now(),
            "last_run": _now(),
            "data": sources,
            "columns": COLUMNS,
        }
        text = json.dumps(about, indent=2, ensure_ascii=False)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            raise unwritable(file, error) from error


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n".

    Raises:
        DataError: If it is no such thing.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    i, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= i <= n:
        raise DataError(f"{text!r} is no part of the work", "--shard 2/8 is the second of 8", 2)
    return i, n


def _digests(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return an 8-byte digest of each id: a million take 8 MB."""
    data = b"".join(
        hashlib.blake2b(one.encode("utf-8", "surrogatepass"), digest_size=8).digest() for one in ids
    )
    return np.frombuffer(data, np.uint64)


def _sound(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose texts can be encoded."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def _drop_torn(folder: Path, parts: str) -> None:
    """Remove what a kill left of a part that was being written."""
    for path in folder.glob(f".{parts}*.tmp"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have a renamed file survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
