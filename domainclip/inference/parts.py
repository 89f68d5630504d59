"""Vectors on their way into a file: parts beside it, so that a stopped run is taken up again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from domainclip.captioning.lock import Lock
from domainclip.errors import UsageError

from .origin import ORIGIN, VECTOR, Origin, keys_of

ROWS, SECONDS = 4096, 10.0
"""Rows of a part, and how long rows wait for one: what a kill can lose."""


def gather(
    tables: Iterable[pa.Table], rows: int = ROWS, seconds: float = SECONDS
) -> Iterator[pa.Table]:
    """Yield small tables joined to larger ones; what there is when the source fails comes too.

    Args:
        tables: The tables, such as those of one batch each.
        rows: Rows of a joined table, at least.
        seconds: After how long a table of fewer rows is yielded.
    """
    held: list[pa.Table] = []
    since = monotonic()
    try:
        for table in tables:
            held.append(table)
            if sum(map(len, held)) >= rows or monotonic() - since > seconds:
                ready, held, since = held, [], monotonic()
                yield pa.concat_tables(ready)
    except BaseException:  # Ctrl-C too: what was computed is kept
        if held:
            yield pa.concat_tables(held)
        raise
    if held:
        yield pa.concat_tables(held)


class Parts:
    """Rows that are made already; each part is there whole or not at all.

    Args:
        output: The file that they are for; the parts lie in a folder beside it.
        origin: What makes the rows.

    Attributes:
        known: Key of each row -> part and row.

    Raises:
        UsageError: If the parts there are of another model or head, or another process writes them.
    """

    def __init__(self, output: Path, origin: Origin) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self.origin = origin
        self.known: dict[str, tuple[Path, int]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock_folder(self.folder)
        try:
            self._paths = [
                part for part in sorted(self.folder.glob("*.parquet")) if self._take(part)
            ]
        except BaseException:
            self.lock.close()
            raise

    def add(self, table: pa.Table) -> None:
        """Write rows as one more part."""
        part = self.folder / f"{len(self._paths) + 1:06d}.parquet"
        partial = part.with_suffix(".partial")
        with partial.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(part)
        self._paths.append(part)
        self.known |= {key: (part, row) for row, key in enumerate(keys_of(table))}

    def in_order(self, keys: Iterable[str], rows: int = ROWS) -> Iterator[pa.Table]:
        """Yield rows in the order of their keys, some at a time; keys without a row are left out.

        A table without a row is yielded where there is none, which tells the columns.
        """
        empty = self.origin.schema().empty_table()
        found = [self.known[key] for key in keys if key in self.known]
        open_parts: dict[Path, pa.Table] = {}
        for start in range(0, max(len(found), 1), rows):
            block = found[start : start + rows]
            needed = dict.fromkeys(part for part, _ in block)
            open_parts = {p: open_parts[p] if p in open_parts else pq.read_table(p) for p in needed}
            first, begins = 0, {}
            for part, table in open_parts.items():
                begins[part] = first
                first += len(table)
            table = pa.concat_tables([empty, *open_parts.values()])
            places = pa.array([begins[part] + row for part, row in block], pa.int64())
            yield table.take(places).combine_chunks()

    def remove(self) -> None:
        """Remove the parts, which the finished file stands for."""
        shutil.rmtree(self.folder)

    def _take(self, part: Path) -> bool:
        """Take the rows of a part that an earlier run wrote; one that was torn is written anew."""
        try:
            file = pq.ParquetFile(part)
            names = [name for name in file.schema_arrow.names if name != VECTOR]
            table = file.read(columns=names)
        except (OSError, pa.ArrowException):
            part.unlink()
            return False
        told = Origin.parse((file.schema_arrow.metadata or {}).get(ORIGIN), str(part))
        way_on = "write to another file, or remove that folder"
        told.check(self.origin, str(self.folder), way_on)
        self.known |= {key: (part, row) for row, key in enumerate(keys_of(table))}
        return True

    def __enter__(self) -> Parts:
        """Return the parts themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let others write."""
        self.lock.close()


def lock_folder(folder: Path) -> Lock:
    """Keep others from writing to a folder.

    Raises:
        UsageError: If another process does.
    """
    try:
        return Lock(folder / "lock")
    except UsageError as error:
        raise UsageError(error.message, "wait for it, or write somewhere else") from None
