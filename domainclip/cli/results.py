"""Where the rows of a long job go: stdout, or a file that a stopped job is taken up again with."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from domainclip.errors import DataError, UsageError

from . import output
from .output import Output, Shorten, Style, open_output

KEY = ("file_name", "x", "y", "w", "h")
"""Columns that tell a picture."""
STDOUT = ("-", "stdout")
"""In the place of a file; the second is what pybioclip calls it."""


class Results:
    """Rows of results, a few for each picture, in the order of the pictures.

    Args:
        out: What the command was asked for.
        style: The format of `--format`.
        file: The file of `--output`; None for stdout.
        settings: What rows depend on; a CSV file that was begun under others is not gone on with.

    Attributes:
        done: Pictures that the file has rows of already.
    """

    def __init__(
        self, out: Output, style: Style | None, file: str | None, settings: Mapping[str, Any]
    ) -> None:
        self.file = None if file in (None, *STDOUT) else Path(file).expanduser()
        ending = "" if self.file is None else self.file.suffix.lower().removeprefix(".")
        by_name: Style = "json" if ending == "json" else "csv"
        asked = out.style if out.asked else None
        self.style = style or asked or (by_name if self.file else out.style)
        self.out, self.settings = out, json.loads(json.dumps(dict(settings)))  # as it is read back
        self.note = None
        self.done: set[tuple[str, ...]] = set()
        self.columns: list[str] = []
        if self.file is not None and self.style == "csv":
            self.note = self.file.with_name(f"{self.file.name}.unfinished")
            self._take_up(self.file, self.note)

    def is_done(self, row: Mapping[str, Any]) -> bool:
        """Return whether the file has the rows of a picture already."""
        return bool(self.done) and _key(row) in self.done

    def write(self, rows: Iterable[Mapping[str, Any]], shorten: Shorten | None = None) -> int:
        """Write rows as they come and return how many there were.

        Args:
            rows: The rows.
            shorten: Makes a row of fewer columns, for a table that a terminal is too narrow for.
        """
        with self._open() as target:
            return target.rows(rows, self.columns, heading=not self.columns, shorten=shorten)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Output]:
        if self.file is None:
            yield Output(self.style, self.out.stream) if self.style != self.out.style else self.out
            return
        try:
            if self.note is not None:
                self.note.write_text(json.dumps(self.settings, indent=1), encoding="utf-8")
            stream = self._stream(self.file)
        except OSError as error:
            why = error.strerror or error
            raise DataError(f"{self.file} cannot be written: {why}") from error
        with stream:
            yield Output(self.style, stream)
        if self.note is not None:
            self.note.unlink(missing_ok=True)
        if not self.out.quiet:
            output.note(f"written to {self.file}")

    def _stream(self, file: Path) -> TextIO:
        if not self.columns:
            return open_output(str(file))
        return file.open("a", encoding="utf-8", errors="surrogateescape", newline="")

    def _take_up(self, file: Path, note: Path) -> None:
        """Find what an unfinished file has; the last picture's rows may be torn and are dropped."""
        if not (note.is_file() and file.is_file()):
            return
        try:
            begun = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            begun = {}
        differs = [key for key, value in self.settings.items() if begun.get(key) != value]
        if differs:
            raise UsageError(
                f"{file} was begun with another {', '.join(differs)}, and is not finished",
                f"finish it with the same options, write to another file, or remove {note}",
            )
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = [row for row in reader if None not in row.values()]
            columns = list(reader.fieldnames or ())
        last = _key(rows[-1]) if rows else None
        rows = [row for row in rows if _key(row) != last]
        if not rows:
            return
        partial = file.with_name(f"{file.name}.partial")
        with open_output(str(partial)) as stream:
            Output("csv", stream).rows(rows, columns)
        partial.replace(file)
        self.columns, self.done = columns, {_key(row) for row in rows}
        output.note(f"{output.counted(len(self.done), 'picture')} in {file} already: going on")


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row.get(column, "")) for column in KEY)
