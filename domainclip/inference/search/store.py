"""The folder of an index: a table of vectors with what is known of each, and what made them.

index.json        model, digest, head and dimensions of the vectors; partitions of the vector index
pictures.lance    file_name, x, y, w, h, embedding, and the columns of the metadata
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from domainclip.errors import DataError, UsageError, suggest
from domainclip.inference.lance import connect
from domainclip.inference.origin import NAME, VECTOR, Origin, keys_of, vectors_of
from domainclip.inference.pictures import BOX
from domainclip.model.folder import write_json

from .planning import LARGE, REFINE, Plan, count_partitions

ABOUT, TABLE = "index.json", "pictures"
FORMAT = 1
OWN = (NAME, *BOX, VECTOR)
"""Columns that every index has."""
DISTINCT = 1000
"""Different values up to which a column gets a bitmap; one of more gets a tree."""
_NOISE = (
    *(r", /\S+$", r"^Invalid input, ", r"Schema error: ", r"\.? ?(Valid fields|Did you).*$"),
    *(r"^Error (resolving|parsing) .*?(Invalid user input|sql parser error): ", r"\)$"),
)
"""Parts of LanceDB's messages that tell people nothing."""
_EVERY = 1 << 20
"""More partitions than there are: adding rows may have made new ones."""


class Store:
    """An index on disk, as the one who writes to it or searches it sees it.

    Args:
        folder: The folder.
        origin: What made its vectors.
        partitions: Partitions that its vector index began with; 0 where it has none.
        trained: Rows that the vector index was made for.
    """

    def __init__(self, folder: Path, origin: Origin, partitions: int = 0, trained: int = 0) -> None:
        self.folder, self.origin = folder, origin
        self.partitions, self.trained = partitions, trained
        self.table: Any = connect(folder).open_table(TABLE)

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Open the index of a folder.

        Raises:
            UsageError: If there is none, or LanceDB is not installed.
            DataError: If it cannot be read.
        """
        path = Path(folder).expanduser()
        if not (path / ABOUT).is_file():
            raise UsageError(
                f"no index in {path}",
                f"domainclip index PICTURES --model RUN --out {path} makes it",
            )
        try:
            about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
            if about.pop("format") > FORMAT:
                raise DataError(f"{path} was made by a later version", "update domainclip")
            partitions, trained = about.pop("partitions"), about.pop("trained")
            return cls(path, Origin(**about), partitions, trained)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no index that can be read: {error}") from error

    @classmethod
    def create(cls, folder: str | Path, origin: Origin, columns: Sequence[pa.Field] = ()) -> Store:
        """Make an index without a row.

        Args:
            folder: Its folder, which is there.
            origin: What will make its vectors.
            columns: What will be known of each picture.
        """
        path = Path(folder).expanduser()
        schema = pa.schema([*origin.schema(), *columns], metadata=origin.schema().metadata)
        connect(path).create_table(TABLE, schema=schema, mode="overwrite")
        store = cls(path, origin)
        store._note()
        return store

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """What is known of each picture: column -> type."""
        return {field.name: field.type for field in self.table.schema if field.name not in OWN}

    def check(self, columns: Iterable[str]) -> None:
        """Refuse columns that the index does not have.

        Raises:
            DataError: With the way to an index that has them.
        """
        unknown = next((name for name in columns if name not in self.columns), None)
        if unknown is not None:
            raise DataError(
                f"{self.folder} has no column {unknown!r}; its columns: "
                f"{', '.join(self.columns) or 'none'}",
                self._say_richer(),
            )

    def keys(self) -> set[str]:
        """Return what tells each picture that is in it."""
        batches = self.table.search().select([NAME, *BOX]).to_batches()
        return {key for batch in batches for key in keys_of(batch)}

    def add(self, rows: pa.Table) -> None:
        """Add rows; columns that they lack stay empty.

        Raises:
            DataError: If a column is of another type, or vectors are none.
        """
        schema = self.table.schema
        vectors = vectors_of(rows)
        bad = ~(np.isfinite(vectors).all(1) & vectors.any(1))
        if vectors.shape[1] != self.origin.dim or bad.any():
            what = keys_of(rows)[int(bad.argmax())]
            raise DataError(
                f"{what}: its vector has no direction, or not {self.origin.dim} numbers"
            )
        flat = pa.array(vectors.reshape(-1))
        held = {VECTOR: pa.FixedSizeListArray.from_arrays(flat, self.origin.dim)}
        for field in schema:
            if field.name == VECTOR:
                continue
            if field.name not in rows.schema.names:
                held[field.name] = pa.nulls(len(rows), field.type)
                continue
            try:
                held[field.name] = rows.column(field.name).combine_chunks().cast(field.type)
            except pa.ArrowException as error:
                raise DataError(
                    f"column {field.name!r} of the index is of type {field.type}: {error}"
                ) from error
        self.table.add(pa.table([held[name] for name in schema.names], schema=schema))

    def settle(self) -> None:
        """Bring the table and its indices into shape once rows have been added.

        From `LARGE` rows on there is an index of vectors, made anew when the rows have doubled, and
        one for each column that can be filtered by.
        """
        rows = self.table.count_rows()
        self._tidy()
        if rows >= max(LARGE, 2 * self.trained):
            from lancedb.index import IvfSq

            self.partitions, self.trained = count_partitions(rows), rows
            # A number of partitions is forgotten when the table is tidied: LanceDB then joins them
            # to its own size, 31 for a million rows. A size of partitions is kept.
            size = math.ceil(rows / self.partitions)
            kind = IvfSq(distance_type="cosine", target_partition_size=size)
            self.table.create_index(VECTOR, config=kind, replace=True)
            for name, type_ in self.columns.items():
                self._index_column(name, type_)
            self._tidy()
        self._note()

    def count(self, where: str | None = None) -> int:
        """Return how many rows there are, or pass a filter.

        Raises:
            UsageError: If the filter is wrong; the columns are told.
        """
        try:
            return int(self.table.count_rows(where))
        except (ValueError, RuntimeError) as error:
            raise self._refuse(where or "", str(error)) from None

    def nearest(
        self, vector: NDArray[np.float32], plan: Plan, k: int, where: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the nearest rows, `_distance` being 1 - cosine, without their vectors."""
        names = [name for name in self.table.schema.names if name != VECTOR]
        query = self.table.search(vector, vector_column_name=VECTOR).distance_type("cosine")
        query = query.limit(k).select([*names, "_distance"])
        if where is not None:
            query = query.where(where, prefilter=True)
        if plan.partitions is None:
            query = query.bypass_vector_index()
        else:
            every = plan.partitions >= self.partitions
            query = query.nprobes(_EVERY if every else plan.partitions).refine_factor(REFINE)
        found: list[dict[str, Any]] = query.to_list()
        return found

    def _tidy(self) -> None:
        """Join small files, bring indices up to date, and remove files that nothing needs now.

        Who has the index open sees it as it is afterwards; a query under way may fail.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of just that
            for _ in range(2):  # what the first replaces is old only for the second
                self.table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def _index_column(self, name: str, type_: pa.DataType) -> None:
        """Index a column for filters, where its type has an order."""
        from lancedb.index import Bitmap, BTree

        tests = (pa.types.is_nested, pa.types.is_binary, pa.types.is_null)
        if any(test(type_) for test in tests):
            return
        values = self.table.search().select([name]).to_arrow().column(name)
        few = pa.types.is_boolean(type_) or pc.count_distinct(values).as_py() <= DISTINCT
        self.table.create_index(name, config=Bitmap() if few else BTree(), replace=True)

    def _note(self) -> None:
        about = {"format": FORMAT, **asdict(self.origin)}
        about |= {"partitions": self.partitions, "trained": self.trained}
        write_json(self.folder / ABOUT, about)

    def _say_richer(self) -> str:
        """Say the way to an index that knows more of the same pictures."""
        table = self.folder / f"{TABLE}.lance"
        return (
            f"domainclip index --embeddings {table} --metadata CSV --out NEW makes another index "
            "of the same vectors"
        )

    def _refuse(self, where: str, said: str) -> UsageError:
        """Say what is wrong with a filter, and which columns there are."""
        for noise in _NOISE:
            said = re.sub(noise, "", said)
        columns = [NAME, *self.columns]
        there = ", ".join(f"{name} ({_say_type(self.columns.get(name))})" for name in columns)
        missing = re.search(r'No field named "?([^".]+)', said)
        near = suggest(missing[1], columns) if missing else ""
        if missing and f'"{missing[1]}"' in where:
            near = f"texts stand in single quotes: '{missing[1]}'"
        hint = f"columns: {there}"
        if not self.columns:
            hint = f"{hint}; {self._say_richer()}"
        return UsageError(f"where {where!r}: {said}", f"{near}; {hint}" if near else hint)


def _say_type(type_: pa.DataType | None) -> str:
    if type_ is None or pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    return "whole number" if pa.types.is_integer(type_) else str(type_)
