"""Files of unit vectors, each saying what made it: Parquet, npz, a Lance table, or JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domainclip.errors import DataError, UsageError, suggest

from .lance import connect
from .origin import NAME, ORIGIN, TEXT, Origin, keys_of, vectors_of
from .pictures import BOX, Crop

ENDINGS = (".parquet", ".npz", ".lance", ".json")
ROWS = 4096
"""Rows that are read or written at once."""


def check_ending(path: Path) -> str:
    """Return the ending of a file of vectors.

    Raises:
        UsageError: If none are written there.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"{path}: vectors are not written as {ending or 'a file without an ending'}",
            suggest(ending, ENDINGS) or f"give a name that ends in {', '.join(ENDINGS)}",
        )
    return ending


def write_embeddings(path: Path, origin: Origin, tables: Iterable[pa.Table]) -> None:
    """Write vectors in the format of the file's ending, whole or not at all.

    Args:
        path: Ends in .parquet, .npz, .lance or .json; what is there is replaced.
        origin: What made the vectors.
        tables: Rows, all with the same columns: those of `origin.schema`.

    Raises:
        UsageError: If the ending is another, or .lance without LanceDB.
    """
    write: dict[str, Callable[[Path, Origin, Iterator[pa.Table]], Path]] = {
        ".parquet": _write_parquet, ".npz": _write_npz, ".lance": _write_lance,
        ".json": _write_json,
    }  # fmt: skip
    ending = check_ending(path)
    with ExitStack() as stack:
        partial = path.with_name(f"{path.name}.partial")
        stack.callback(_remove, partial)
        made = write[ending](partial, origin, iter(tables))
        if path.is_dir():  # a folder is not replaced by renaming another
            _remove(path)
        made.replace(path)


def write_json(stream: TextIO, origin: Origin, tables: Iterable[pa.Table]) -> None:
    """Write vectors as they come, as pybioclip's `embed` does: {"model", "embeddings": {file: v}}.

    The origin stands beside the name of the model; vectors have length one, which pybioclip's do
    not have.
    """
    head = json.dumps({"model": origin.model, "origin": asdict(origin)}, ensure_ascii=False)
    stream.write(head[:-1] + ', "embeddings": {')
    before = "\n"
    for table in tables:
        for key, vector in zip(keys_of(table), vectors_of(table).astype(float), strict=True):
            numbers = ", ".join(f"{number:.9g}" for number in vector)  # nine digits tell a float32
            stream.write(f"{before}{json.dumps(key, ensure_ascii=False)}: [{numbers}]")
            before = ",\n"
        stream.flush()
    stream.write("\n}}\n")


def open_embeddings(path: Path) -> tuple[Origin, Iterator[pa.Table]]:
    """Open a file of vectors: what made them, and its rows, some at a time.

    Raises:
        DataError: If it is missing, cannot be read, or does not say what made it.
        UsageError: If its ending is that of no such file.
    """
    read: dict[str, Callable[[Path], tuple[Origin, Iterator[pa.Table]]]] = {
        ".parquet": _read_parquet, ".npz": _read_npz, ".lance": _read_lance, ".json": _read_json
    }  # fmt: skip
    ending = check_ending(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file", "write it with domainclip embed")
    try:
        return read[ending](path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{path} holds no vectors that can be read: {said}") from error


def _write_parquet(path: Path, origin: Origin, tables: Iterator[pa.Table]) -> Path:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as file:
        file.write_table(first)
        for table in tables:
            file.write_table(table)
    return path


def _write_npz(path: Path, origin: Origin, tables: Iterator[pa.Table]) -> Path:
    table = pa.concat_tables(tables)
    name = NAME if origin.kind == "pictures" else TEXT
    boxes = {side: table.column(side).to_numpy() for side in BOX if side in table.schema.names}
    with path.open("wb") as file:
        np.savez(
            file, allow_pickle=False, names=np.array(table.column(name).to_pylist(), dtype=np.str_),
            embeddings=vectors_of(table), **boxes, **asdict(origin),
        )  # fmt: skip
    return path


def _write_lance(path: Path, origin: Origin, tables: Iterator[pa.Table]) -> Path:
    first = next(tables)
    table = connect(path).create_table("vectors", data=first, schema=first.schema)
    for rows in tables:
        table.add(rows)
    return path / "vectors.lance"


def _write_json(path: Path, origin: Origin, tables: Iterator[pa.Table]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        write_json(file, origin, tables)
    return path


def _read_parquet(path: Path) -> tuple[Origin, Iterator[pa.Table]]:
    file = pq.ParquetFile(path)
    origin = Origin.parse((file.schema_arrow.metadata or {}).get(ORIGIN), str(path))
    return origin, (pa.Table.from_batches([b]) for b in file.iter_batches(ROWS))


def _read_lance(path: Path) -> tuple[Origin, Iterator[pa.Table]]:
    table = connect(path.resolve().parent).open_table(path.stem)
    origin = Origin.parse((table.schema.metadata or {}).get(ORIGIN), str(path))
    return origin, (pa.Table.from_batches([b]) for b in table.search().to_batches(ROWS))


def _read_npz(path: Path) -> tuple[Origin, Iterator[pa.Table]]:
    with np.load(path, allow_pickle=False) as file:
        held = {name: file[name] for name in file.files}
    said = {field: held[field].item() for field in Origin.__dataclass_fields__ if field in held}
    origin = Origin.parse(json.dumps(said), str(path))
    boxes = np.stack([held[side] for side in BOX], 1) if BOX[0] in held else None
    items: list[str | Crop] = held["names"].tolist()
    if boxes is not None:
        items = [
            n if np.isnan(b[0]) else Crop(str(n), *b) for n, b in zip(items, boxes, strict=True)
        ]
    return origin, _in_blocks(origin, items, held["embeddings"])


def _read_json(path: Path) -> tuple[Origin, Iterator[pa.Table]]:
    held = json.loads(path.read_text(encoding="utf-8"))
    origin = Origin.parse(json.dumps(held.get("origin")), str(path))
    items: list[str | Crop] = [_item_of(key, origin) for key in held["embeddings"]]
    vectors = np.array(list(held["embeddings"].values()), dtype=np.float32)
    return origin, _in_blocks(origin, items, vectors.reshape(len(items), origin.dim))


def _item_of(key: str, origin: Origin) -> str | Crop:
    name, _, box = key.rpartition("#xywh=")
    return Crop(name, *map(float, box.split(","))) if name and origin.kind == "pictures" else key


def _in_blocks(
    origin: Origin, items: list[str | Crop], vectors: NDArray[Any]
) -> Iterator[pa.Table]:
    for start in range(0, len(items), ROWS):
        yield origin.rows(items[start : start + ROWS], vectors[start : start + ROWS])


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
