"""Makes an index, and adds to it: from pictures, or from vectors that are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from domainclip.errors import DataError, UsageError
from domainclip.inference.embed import picture_rows
from domainclip.inference.encoding import Encoder
from domainclip.inference.origin import NAME, Origin, keys_of
from domainclip.inference.parts import gather, lock_folder
from domainclip.inference.pictures import Crop

from .metadata import Metadata, check_names, locate
from .planning import LARGE
from .store import ABOUT, OWN, TABLE, Store

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Indexed:
    """What came of adding to an index."""

    folder: Path
    rows: int
    """Pictures that are in it now."""
    added: int
    known: int
    """Pictures that were in it before, and were asked for again."""
    unreadable: list[tuple[str, str]]
    """(path, reason) of the pictures that are left out."""
    unmatched: int
    """Pictures added of which the metadata has no row."""


def index_pictures(
    folder: str | Path,
    encoder: Encoder,
    pictures: Iterable[str | Path | Crop],
    *,
    head: str = "captions",
    metadata: Metadata | None = None,
    tell: Tell | None = None,
) -> Indexed:
    """Add pictures to an index, which is made if it is not there.

    Pictures that are in it are skipped, so that a run that was stopped is taken up again by the
    same call. What was added before it was stopped can be searched.

    Args:
        folder: The index.
        encoder: The model.
        pictures: Files, and boxes cut out of them; kept by their paths from the root.
        head: The projection head; `names` serves where the model lacks it.
        metadata: What is known of the pictures.
        tell: Called with a line before what takes long.

    Raises:
        UsageError: If another model or head made the index, or the folder holds other things.
        DataError: If the metadata has a column that the index lacks, or of another type.
    """
    metadata = metadata or Metadata()
    origin = _located(Origin.of(encoder, head))
    seen: dict[str, None] = {}
    unreadable: list[tuple[str, str]] = []
    with _writing(folder, origin, metadata.fields) as store:
        known = store.keys()
        files = (_locate(picture) for picture in pictures)
        added = 0
        for rows in gather(picture_rows(encoder, origin, files, known, seen, unreadable)):
            store.add(metadata.join(rows, keys_of(rows)))
            added += len(rows)
        _settle(store, tell)
        before = sum(key in known for key in seen)
        return Indexed(
            store.folder, store.count(), added, before, unreadable, metadata.unmatched
        )  # fmt: skip


def index_vectors(
    folder: str | Path,
    origin: Origin,
    tables: Iterable[pa.Table],
    *,
    metadata: Metadata | None = None,
    tell: Tell | None = None,
) -> Indexed:
    """Add vectors that are there already to an index, as `index_pictures` does.

    Args:
        folder: The index.
        origin: What made the vectors.
        tables: Rows as `open_embeddings` reads them; columns beside those are metadata.
        metadata: What else is known of the pictures.
        tell: Called with a line before what takes long.

    Raises:
        UsageError: As `index_pictures`.
        DataError: As `index_pictures`, or if the vectors are those of texts.
    """
    if origin.kind != "pictures":
        raise DataError("an index is of pictures, and these vectors are of texts")
    metadata = metadata or Metadata()
    source = iter(tables)
    first = _join(next(source, origin.schema().empty_table()), metadata)
    columns = [field for field in first.schema if field.name not in OWN]
    check_names([field.name for field in columns])
    with _writing(folder, _located(origin), columns) as store:
        known = store.keys()
        seen: dict[str, None] = {}
        added = before = 0
        for rows in gather(chain([first], (_join(table, metadata) for table in source))):
            new = []
            for row, key in enumerate(keys_of(rows)):
                before += key in known and key not in seen
                if key not in known and key not in seen:
                    new.append(row)
                seen[key] = None
            if new:
                store.add(rows.take(new))
            added += len(new)
        _settle(store, tell)
        return Indexed(store.folder, store.count(), added, before, [], metadata.unmatched)


@contextmanager
def _writing(folder: str | Path, origin: Origin, columns: Sequence[pa.Field]) -> Iterator[Store]:
    """Open an index for adding, or make it; nobody else writes to it meanwhile."""
    path = Path(folder).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    there = (path / ABOUT).is_file()
    others = [p.name for p in path.iterdir() if p.name not in ("lock", f"{TABLE}.lance")]
    if others and not there:
        raise UsageError(
            f"{path} is no index, and holds {others[0]}", "name a folder that is not there yet"
        )
    lock = lock_folder(path)
    try:
        store = Store.open(path) if there else Store.create(path, origin, columns)
        way_on = "add with the model that made it, or name another folder"
        store.origin.check(origin, f"the index {path}", way_on)
        store.check(field.name for field in columns)
        yield store
    finally:
        lock.close()


def _settle(store: Store, tell: Tell | None) -> None:
    rows = store.count()
    if tell is not None and rows >= max(LARGE, 2 * store.trained):
        tell(f"building the index of {rows:,} vectors")
    store.settle()


def _join(rows: pa.Table, metadata: Metadata) -> pa.Table:
    """Return vectors under the paths of their pictures, with what is known of them."""
    names = pa.array([locate(name) for name in rows.column(NAME).to_pylist()], pa.string())
    spare = [name for name in rows.column_names if name.startswith("__index_level_")]  # of pandas
    rows = rows.drop_columns(spare)
    rows = rows.set_column(rows.column_names.index(NAME), NAME, names)
    return metadata.join(rows, keys_of(rows))


def _locate(picture: str | Path | Crop) -> str | Crop:
    if isinstance(picture, Crop):
        return replace(picture, file=locate(picture.file))
    return locate(str(picture))


def _located(origin: Origin) -> Origin:
    """Return an origin whose model is found from any folder."""
    return replace(origin, model=locate(origin.model))
