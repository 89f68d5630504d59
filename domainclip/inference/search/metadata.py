"""What is known of pictures beside what they show: the columns of tables, joined by file name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from domainclip.errors import DataError
from domainclip.inference.origin import NAME, VECTOR, say_key
from domainclip.inference.pictures import BOX, FILE_COLUMNS, LISTS, Crop

RESERVED = (NAME, *BOX, VECTOR, "rank", "score")
"""Columns that an index, or what is found in it, has itself."""
TRIED = 200
"""Files of a table that are looked for to find out what they are relative to."""
BESIDE = ("metadata.csv", "metadata.tsv")
"""Tables that a folder of pictures may hold."""


class Metadata:
    """Tables with a row for each picture or box.

    Args:
        tables: CSV, TSV or Parquet files with a column of files and, if rows tell boxes, `x,y,w,h`.
            Types of the other columns are guessed.
        folders: Where files may be relative to, beside the table's own folder and this one.

    Attributes:
        fields: The columns beside files and boxes.
        unmatched: Pictures that no row was found for.

    Raises:
        DataError: If a table has no column of files, or two rows of one picture that differ.
    """

    def __init__(self, tables: Sequence[Path] = (), folders: Sequence[Path] = ()) -> None:
        self.unmatched = 0
        self._tables: list[tuple[dict[str, int], pa.Table]] = []
        for path in tables:
            table = _read(path)
            told = _tells_picture(table, path)
            keys = _keys(table, told, [path.parent, *folders, Path()])
            columns = table.drop_columns(told)
            check_names(columns.column_names)
            rows = _number(keys, columns, path)
            if columns.num_columns:
                self._tables.append((rows, columns))
        schemas = [columns.schema for _, columns in self._tables]
        whole = pa.unify_schemas(schemas, promote_options="permissive") if schemas else ()
        self.fields: list[pa.Field] = list(whole)
        check_names([field.name for field in self.fields])

    def join(self, rows: pa.Table, pictures: Iterable[str]) -> pa.Table:
        """Return rows with what is known of their pictures; of two tables the first that knows it.

        Args:
            rows: One row for each picture.
            pictures: The keys of the pictures, as `say_key` says them.
        """
        keys = list(pictures)
        found = [[_find(key, held) for key in keys] for held, _ in self._tables]
        if found:
            self.unmatched += sum(set(each) == {None} for each in zip(*found, strict=True))
        places = [pa.array(each, pa.int64()) for each in found]
        for field in self.fields:
            if field.name in rows.column_names:
                rows = rows.drop_columns([field.name])
            told = [
                columns.column(field.name).take(place).cast(field.type)
                for place, (_, columns) in zip(places, self._tables, strict=True)
                if field.name in columns.column_names
            ]
            rows = rows.append_column(field, pc.coalesce(*told))
        return rows


def locate(name: str) -> str:
    """Return the path from the root of a file that is there; any other name as it is."""
    path = Path(name).expanduser()
    return os.path.normpath(path.absolute()) if path.exists() else name


def find_tables(names: Iterable[str]) -> list[Path]:
    """Return the tables among what names pictures: lists of files, and those in their folders."""
    paths = [Path(name).expanduser() for name in names]
    lists = [path for path in paths if path.suffix.lower() in LISTS and path.is_file()]
    inside = [path / name for path in paths if path.is_dir() for name in BESIDE]
    return lists + [path for path in inside if path.is_file()]


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            parse = pa.csv.ParseOptions(
                delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
            )
            # "NA" may be a value, such as a continent: only an empty cell is none.
            convert = pa.csv.ConvertOptions(
                null_values=[""], strings_can_be_null=True,
                column_types={name: pa.string() for name in FILE_COLUMNS},
            )  # fmt: skip
            table = pa.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read as a table: {said}") from error
    table = table.rename_columns([_lower(name) for name in table.column_names])
    empty = [field.with_type(pa.string()) if pa.types.is_null(field.type) else field
             for field in table.schema]  # fmt: skip
    return table.cast(pa.schema(empty))


def _lower(name: str) -> str:
    """Return a column's name; in lower case where it is of files or boxes, as in lists of files."""
    name = name.strip()
    return name.lower() if name.lower() in (*FILE_COLUMNS, *BOX) else name


def _tells_picture(table: pa.Table, path: Path) -> list[str]:
    """Return the columns of a table that tell the picture: its file and, if all are there, a box.

    Raises:
        DataError: If there is no file.
    """
    names = table.column_names
    file = next((column for column in FILE_COLUMNS if column in names), None)
    if file is None:
        raise DataError(
            f"{path}: no column of files; it has {', '.join(names) or 'nothing'}",
            f"call one of them {FILE_COLUMNS[0]}",
        )
    return [file, *(BOX if set(BOX) <= set(names) else ())]


def _keys(table: pa.Table, told: Sequence[str], bases: Sequence[Path]) -> Iterator[str]:
    """Yield the key of each row: its file from the root where it can be found, and its box."""
    files = [name or "" for name in table.column(told[0]).to_pylist()]
    some = [name for name in files if name][:TRIED]
    base = next((b for b in bases if any((b / name).exists() for name in some)), None)
    boxes: Iterable[Any] = repeat((None,), len(files))
    if len(told) > 1:
        sides = [table.column(side).cast(pa.float64()).to_pylist() for side in BOX]
        boxes = zip(*sides, strict=True)
    for file, box in zip(files, boxes, strict=True):
        place = file if base is None else os.path.normpath(base.absolute() / file)
        yield place if None in box else say_key(Crop(place, *box))


def _number(keys: Iterable[str], columns: pa.Table, path: Path) -> dict[str, int]:
    """Return the row of each picture.

    Raises:
        DataError: If a picture has two that differ.
    """
    rows: dict[str, int] = {}
    for row, key in enumerate(keys):
        if not _same(columns, rows.setdefault(key, row), row):
            raise DataError(
                f"{path}: {key} comes twice, and is told differently",
                "leave one row for each picture, or for each of its boxes",
            )
    return rows


def _find(key: str, rows: Mapping[str, int]) -> int | None:
    """Return the row of a picture; a box without one has that of its picture."""
    return rows.get(key, rows.get(key.partition("#xywh=")[0]))


def _same(columns: pa.Table, one: int, other: int) -> bool:
    if one == other or not columns.num_columns:
        return True
    rows = columns.take([one, other]).to_pylist()
    return bool(rows[0] == rows[1])


def check_names(names: Sequence[str]) -> None:
    """Refuse columns that an index cannot have.

    Raises:
        DataError: If a name is taken, empty, given twice, or has a dot.
    """
    for name in names:
        if name in RESERVED or "." in name or not name:
            why = (
                "has a dot" if "." in name else "is one of an index itself" if name else "is empty"
            )
            raise DataError(f"the metadata's column {name!r} {why}", "call it otherwise")
    lower = [name.lower() for name in names]
    double = next((n for i, n in enumerate(names) if n.lower() in lower[:i]), None)
    if double is not None:
        raise DataError(f"the metadata has two columns {double!r}", "call one of them otherwise")
