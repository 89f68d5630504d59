"""What commands print: data on stdout in the format asked for, everything else on stderr."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice, zip_longest
from numbers import Integral, Real
from typing import Any, Literal, TextIO

import click

from .framework import Option

Style = Literal["table", "csv", "json", "quiet"]
Shorten = Callable[[dict[str, Any]], Mapping[str, Any]]
FIRST_ROWS = 200
"""Rows whose widths set the columns; later rows are cut to fit, so that rows can stream."""


def warning(text: str) -> None:
    """Say on stderr what went otherwise than wished."""
    _say("warning", text, "yellow")


def hint(text: str) -> None:
    """Say on stderr what to do next."""
    _say("next", text, "cyan")


def error(text: str, way_on: str = "") -> None:
    """Say on stderr what went wrong and the way on."""
    _say("error", text, "red")
    if way_on:
        _say("hint", way_on, "cyan")


def note(text: str) -> None:
    """Say something on stderr."""
    click.echo(text, err=True)


def counted(number: int, noun: str) -> str:
    """Return "1 picture", "2 pictures"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say(kind: str, text: str, colour: str) -> None:
    click.echo(f"{_paint(f'{kind}:', sys.stderr, fg=colour)} {text}", err=True)


def _paint(text: str, stream: TextIO, **style: Any) -> str:
    plain = "NO_COLOR" in os.environ or not stream.isatty()
    return text if plain else click.style(text, **style)


class Output:
    """Writes rows as a table, CSV, JSON, or only what identifies them.

    Args:
        style: The format; None for a table on a terminal and CSV elsewhere.
        stream: Where to write; None for stdout.
    """

    def __init__(self, style: Style | None = None, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.asked = style is not None
        self.style: Style = style or ("table" if self.stream.isatty() else "csv")

    @property
    def quiet(self) -> bool:
        """Whether only the result itself is wanted."""
        return self.style == "quiet"

    def rows(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Sequence[str] = (),
        ids: str = "",
        *,
        heading: bool = True,
        shorten: Shorten | None = None,
    ) -> int:
        """Write rows as they come and return how many there were.

        Args:
            rows: Mappings of one set of keys.
            columns: The keys in order; unset, those of the first row.
            ids: The column that `--quiet` prints; unset, the first.
            heading: Begin CSV with the titles; a file that is added to has them.
            shorten: Makes a row of fewer columns, for a table that a terminal is too narrow for.
        """
        iterator = iter(rows)
        first = list(islice(iterator, 1))
        columns = tuple(columns) or tuple(first[0] if first else ())
        everything = chain(first, iterator)
        if self.quiet:
            return self._ids(everything, ids or "".join(columns[:1]))
        if self.style == "csv":
            return self._csv(everything, columns, heading)
        if self.style == "table":
            return self._table(everything, columns, shorten)
        return self._json(everything, columns)

    def page(self, rows: Iterable[Sequence[str]], columns: Sequence[str]) -> None:
        """Write a table for reading: cells of several lines, wrapped to the width of the terminal.

        Args:
            rows: Texts, one for each column; a line end in one is kept.
            columns: Their names; the first column is never wrapped.
        """
        rows = [tuple(row) for row in rows]
        total = shutil.get_terminal_size().columns if self.stream.isatty() else 120
        widths = _share_width(rows, columns, total)
        title = "  ".join(f"{n:<{w}}" for n, w in zip(columns, widths, strict=True)).rstrip()
        self.line(_paint(title, self.stream, bold=True))
        for row in rows:
            cells = [_wrap(text, width) for text, width in zip(row, widths, strict=True)]
            for line in zip_longest(*cells, fillvalue=""):
                padded = [t + " " * (w - _width(t)) for t, w in zip(line, widths, strict=True)]
                first, rest = padded[0], "  ".join(padded[1:]).rstrip()
                self.line(f"{_paint(first, self.stream, bold=True)}  {rest}".rstrip())

    def tables(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Write several tables, each under its title; JSON is one object."""
        if self.style == "json":
            self.value({title: list(rows) for title, rows in tables.items()})
            return
        for i, (title, rows) in enumerate(tables.items()):
            if not self.quiet:
                mark = "# " if self.style == "csv" else ""
                title = _paint(title, self.stream, bold=True) if self.style == "table" else title
                self.line(("\n" if i else "") + mark + title)
            self.rows(rows)

    def record(self, record: Mapping[str, Any]) -> None:
        """Write one thing as its keys and values."""
        if self.style == "json":
            self.value(dict(record))
        else:
            self.rows({"key": key, "value": value} for key, value in record.items())

    def value(self, value: Any) -> None:
        """Write a value as JSON."""
        self.line(json.dumps(_plain(value), indent=2, ensure_ascii=False))

    def line(self, text: str) -> None:
        """Write one line."""
        self.stream.write(f"{text}\n")

    def _ids(self, rows: Iterable[Mapping[str, Any]], ids: str) -> int:
        count = 0
        for count, row in enumerate(rows, 1):  # noqa: B007
            self.line(_text(row[ids]))
        return count

    def _csv(
        self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], heading: bool = True
    ) -> int:
        plain = csv.writer(self.stream, lineterminator="\n")
        quoted = csv.writer(self.stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if columns and heading:
            plain.writerow(columns)
        count = 0
        for count, row in enumerate(rows, 1):  # noqa: B007
            texts = [_text(row.get(column)) for column in columns]
            # Python before 3.13 leaves a lone carriage return unquoted, and readers break there.
            (quoted if any("\r" in text for text in texts) else plain).writerow(texts)
        return count

    def _json(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> int:
        count = 0
        for count, row in enumerate(rows, 1):
            text = json.dumps(_plain(row), ensure_ascii=False)
            self.stream.write(("[\n  " if count == 1 else ",\n  ") + text)
        self.stream.write("\n]\n" if count else "[]\n")
        return count

    def _table(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Sequence[str],
        shorten: Shorten | None = None,
    ) -> int:
        iterator = iter(rows)
        head = list(islice(iterator, FIRST_ROWS))
        if not head:
            return 0
        shown = [_Column(name, head) for name in _used(head, columns)]
        if self.stream.isatty():
            room = shutil.get_terminal_size().columns
            if shorten and _total(shown) > room:
                iterator, head = (shorten({**r}) for r in iterator), [shorten({**r}) for r in head]
                shown = [_Column(name, head) for name in _used(head, [*head[0]])]
            _shrink(shown, room)
        title = "  ".join(column.pad(column.name) for column in shown).rstrip()
        self.line(_paint(title, self.stream, bold=True))
        count = 0
        for count, row in enumerate(chain(head, iterator), 1):  # noqa: B007
            self.line("  ".join(c.pad(_cell(row.get(c.name))) for c in shown).rstrip())
        return count


def _used(head: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Return the columns to show; where all rows are here, one without a value can go."""
    whole = len(head) < FIRST_ROWS
    return [c for c in columns if not whole or any(_text(row.get(c)) for row in head)]


class _Column:
    """A column of a table: its width, and the side on which its values stand and are cut."""

    def __init__(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        values = [row.get(name) for row in rows]
        self.name = name
        self.width = max(_width(name), *(_width(_cell(value)) for value in values))
        self.is_number = all(value is None or _is_number(value) for value in values)
        self.is_path = name in ("file", "file_name", "path")  # the end of a path tells most

    def pad(self, text: str) -> str:
        """Return a text in exactly this column's width."""
        from_left = self.is_path and text != self.name
        if _width(text) > self.width:
            while _width(text) > self.width - 1:
                text = text[1:] if from_left else text[:-1]
            text = f"…{text}" if from_left else f"{text}…"
        space = " " * (self.width - _width(text))
        return space + text if self.is_number else text + space


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--json`, `--csv` and `--quiet`, and an `out: Output` to write to."""

    @functools.wraps(function)
    def with_output(*args: Any, style: Style | None, **kwargs: Any) -> Any:
        return function(*args, out=Output(style), **kwargs)

    helps = {
        "quiet": "Print only what identifies each row, and no hints.",
        "csv": "Print CSV, as is the default when piped.",
        "json": "Print JSON.",
    }
    for name, text in helps.items():
        with_output = click.option(
            f"--{name}",
            "style",
            flag_value=name,
            default=None,
            cls=Option,
            section="Output",
            help=text,
        )(with_output)
    return with_output


def _shrink(columns: Sequence[_Column], total: int) -> None:
    """Take width from the widest text column until a line fits."""
    while _total(columns) > total:
        free = [column for column in columns if not column.is_number and column.width > 8]
        if not free:
            break
        max(free, key=lambda column: column.width).width -= 1


def _total(columns: Sequence[_Column]) -> int:
    """Return the width of a line."""
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _share_width(
    rows: Sequence[Sequence[str]], columns: Sequence[str], total: int
) -> tuple[int, ...]:
    """Return widths that fit a line: the first as it needs, the rest by the text that they hold."""
    lines = [[line for row in rows for line in row[i].split("\n")] for i in range(len(columns))]
    longest = [
        max(_width(name), *map(_width, said)) for name, said in zip(columns, lines, strict=True)
    ]
    room = max(total, 60) - longest[0] - 2 * (len(columns) - 1)
    # By the square root, so that a column of long texts leaves room for the others.
    needs = [sum(map(_width, said)) ** 0.5 for said in lines[1:]]
    shares = [int(room * need / (sum(needs) or 1)) for need in needs]
    return (longest[0], *(min(s, n) for s, n in zip(shares, longest[1:], strict=True)))


def _wrap(text: str, width: int) -> list[str]:
    """Return the lines of a cell; those after the first of a wrapped line are indented."""
    return [
        part
        for line in text.split("\n")
        for part in textwrap.wrap(line, width, subsequent_indent=" ", break_on_hyphens=False)
        or [""]
    ]


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    """Return a value for a table: short numbers, nothing that breaks the line."""
    if _is_number(value) and not isinstance(value, Integral) and math.isfinite(value):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in _text(value))


def _text(value: Any) -> str:
    if value is None or (_is_number(value) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(part) for part in value)
    return str(value)


def _plain(value: Any) -> Any:
    """Return what JSON can hold: plain numbers, null for no number, paths as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def open_output(path: str) -> TextIO:
    """Open a file to write rows to.

    Raises:
        OSError: If it cannot be written.
    """
    return io.open(path, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: UP020
