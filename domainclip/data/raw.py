"""Opens a source of pictures as it comes: folder, table, shards or Hub id."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from domainclip import paths
from domainclip.domains.readers import read_table
from domainclip.errors import DataError, suggest

from .splits import split_name

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
NO_PICTURES = frozenset(
    {".csv", ".db", ".gz", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".parquet", ".pdf"}
    | {".py", ".tar", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip"}
)
"""Endings that are never a picture, even of a domain with a reader of its own."""
CLOSED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow names but opens only with the help of other programs."""


@dataclass
class Raw:
    """A source as it came: columns by name, and pictures as files or as bytes."""

    columns: dict[str, list[Any]]
    root: Path | None = None
    """Folder that file names lie below; None where the pictures come as bytes."""
    images: Any = None
    """A `datasets.Dataset` with the one column `image`, undecoded; None for files."""
    places: list[str] = field(default_factory=list)
    """Where each picture lies in the source; for files this is found later."""
    splits: list[str] | None = None
    """Splits as the names of shards or of a Hub data set give them."""
    stamp: object = None
    """Changes when the source does; for files it is found later."""
    messages: list[str] = field(default_factory=list)


def open_raw(spec: str, *, any_ending: bool = False, streaming: bool = False) -> Raw:
    """Open a source by its name.

    Args:
        spec: A folder, a table of paths, `.tar` shards (a pattern with `*` too) or a Hub id.
        any_ending: Take files of unknown endings for pictures.
        streaming: Read shards and Hub data sets as a stream, without a copy of the originals.

    Raises:
        DataError: If there is no such source, or nothing in it.
    """
    path = Path(spec).expanduser()
    if spec.startswith(("hf-hub:", "hf://datasets/")):
        return _open_hub(spec.removeprefix("hf-hub:").removeprefix("hf://datasets/"), streaming)
    if path.is_dir():
        return _open_folder(path, any_ending, streaming)
    if path.is_file():
        if path.suffix.lower() == ".tar":
            return _open_shards([path], streaming)
        return _open_table(path, path.parent)
    if "*" in path.name and path.parent.is_dir():
        shards = sorted(path.parent.glob(path.name))
        if shards and all(shard.suffix.lower() == ".tar" for shard in shards):
            return _open_shards(shards, streaming)
        raise DataError(f"no .tar shard matches {spec}")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", spec):
        return _open_hub(spec, streaming)
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(
        f"no file or folder {spec}",
        suggest(path.name, beside) or "a Hub data set is written as org/name",
    )


def list_pictures(root: Path, any_ending: bool = False) -> list[str]:
    """Return the pictures below a folder as sorted POSIX paths, hidden files left out."""
    known = _endings()
    found: list[str] = []
    been: set[str] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in been:  # a link that leads back up
            below.clear()
            continue
        been.add(real)
        below[:] = [d for d in below if not d.startswith(".") and d != "__MACOSX"]
        for name in files:
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path per file is slow
            other = any_ending and ending not in NO_PICTURES
            if not name.startswith(".") and (ending in known or other):
                found.append(Path(folder, name).relative_to(root).as_posix())
    return sorted(found)


def _endings() -> frozenset[str]:
    formats = Image.registered_extensions()
    return frozenset(e for e, f in formats.items() if f in Image.OPEN and f not in CLOSED)


def _open_folder(root: Path, any_ending: bool, streaming: bool) -> Raw:
    table = next((root / name for name in METADATA if (root / name).is_file()), None)
    files = list_pictures(root, any_ending)
    if table is not None:
        raw = _open_table(table, root)
        if raw.images is None and len(files) > len(next(iter(raw.columns.values()))):
            raw.messages.append(f"{table.name} lists fewer pictures than lie in {root}")
        return raw
    if not files:
        shards = sorted(root.rglob("*.tar"))
        if shards:
            return _open_shards(shards, streaming)
        endings = sorted({p.suffix for p in root.rglob("*") if p.is_file()} - {""})[:8]
        raise DataError(
            f"no picture in {root}" + (f"; it has {', '.join(endings)} files" if endings else ""),
            "pictures lie in one folder a class, or are listed in metadata.csv",
        )
    return Raw({"file_name": files}, root)


def _open_table(path: Path, root: Path) -> Raw:
    ending = path.suffix.lower()
    if ending not in TABLES:
        raise DataError(
            f"{path} is no source of pictures",
            f"a folder, {', '.join(TABLES)}, .tar shards, or a Hub id org/name",
        )
    if ending == ".parquet":
        return _open_parquet(path, root)
    columns = _read_jsonl(path) if ending == ".jsonl" else dict(read_table(path))
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{path} has no rows")
    return Raw(columns, root)


def _read_jsonl(path: Path) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number} is no JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number} is no JSON object")
            rows.append(row)
    return _columns(rows)


def _open_parquet(path: Path, root: Path) -> Raw:
    import datasets

    try:
        table = datasets.load_dataset(
            "parquet", data_files=str(path), split="train", cache_dir=_cache()
        )
    except Exception as error:
        raise DataError(f"{path} cannot be read as Parquet: {_short(error)}") from error
    if not len(table):
        raise DataError(f"{path} has no rows")
    raw = _from_dataset(table, _stamp([path]), [""] * len(table))
    return raw if raw.images is not None else Raw(raw.columns, root)


def _open_shards(shards: Sequence[Path], streaming: bool) -> Raw:
    import datasets

    files = [str(shard) for shard in shards]
    try:
        rows = datasets.load_dataset(
            "webdataset", data_files=files, split="train", streaming=streaming, cache_dir=_cache()
        )
        if streaming:
            rows = _keep_stream(rows, files, _stamp(shards))
        raw = _from_dataset(rows, _stamp(shards), [])
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{files[0]}: not readable as WebDataset shards ({_short(error)})",
            "each sample is files of one name: 0001.jpg, 0001.json, 0001.cls",
        ) from error
    if raw.images is None:
        raise DataError(f"{files[0]}: no pictures in these shards")
    keys = [str(key) for key in raw.columns.pop("__key__")]
    urls = [Path(str(url)).stem for url in raw.columns.pop("__url__")]
    raw.places = [f"{url}/{key}" for url, key in zip(urls, keys, strict=True)]
    names = {url: split_name(re.split(r"[-_.]?\d", url)[0]) for url in set(urls)}
    if all(names.values()):
        raw.splits = [names[url] or "" for url in urls]
    return raw


def _open_hub(name: str, streaming: bool) -> Raw:
    import datasets

    revision = _revision(name)
    try:
        parts = datasets.load_dataset(name, revision=revision, streaming=streaming)
    except Exception as error:
        raise DataError(
            f"{name}: no folder here, and the Hub says: {_short(error)}",
            "check the name, and the connection; HF_TOKEN opens private data sets",
        ) from error
    opened = []
    for split, rows in parts.items():
        stamp = [name, split, revision or str(getattr(rows, "_fingerprint", ""))]
        if streaming:
            rows = _keep_stream(rows, [name, split], stamp)
        opened.append((split, _from_dataset(rows, stamp, [""] * len(rows))))
    if any(raw.images is None for _, raw in opened):
        columns = ", ".join(opened[0][1].columns)
        raise DataError(f"{name} has no column of pictures; it has {columns}")
    known = list(dict.fromkeys(column for _, raw in opened for column in raw.columns))
    return Raw(
        {
            c: [v for _, r in opened for v in r.columns.get(c, [None] * len(r.images))]
            for c in known
        },
        None,
        datasets.concatenate_datasets([raw.images for _, raw in opened]),
        # a path in one split may be that of another picture in the next
        [f"{split}/{place}" for split, raw in opened for place in raw.places],
        [split for split, raw in opened for _ in raw.places],
        [raw.stamp for _, raw in opened],
    )


def _revision(name: str) -> str | None:
    """Return the commit that a Hub data set is at, so that all of it is read at that one."""
    import huggingface_hub

    try:
        return huggingface_hub.HfApi().dataset_info(name, timeout=20).sha
    except Exception:  # no connection, or no such data set: the loader knows which
        return None


def _from_dataset(rows: Any, stamp: object, places: list[str]) -> Raw:
    """Take a data set apart into undecoded pictures and columns of values."""
    import datasets

    image = next((n for n, f in rows.features.items() if isinstance(f, datasets.Image)), None)
    if image is None:
        image = next((n for n, f in rows.features.items() if _is_binary(f)), None)
    images = None
    columns: dict[str, list[Any]] = {}
    if image is not None:
        images = rows.select_columns([image]).rename_columns({image: "image"})
        images = images.cast_column("image", datasets.Image(decode=False))
        named, empty = _paths_of(images)
        if empty == len(named) and not any(Path(path or "").is_absolute() for path in named):
            columns[image], images = list(named), None  # paths alone: a table of files
        places = [_place(path) or f"{number:06d}" for number, path in enumerate(named)]
    for name, feature in rows.features.items():
        if name == image:
            continue
        values = list(rows[name])
        if isinstance(feature, datasets.ClassLabel):
            values = [None if v is None or v < 0 else feature.int2str(v) for v in values]
        if any(isinstance(value, dict) for value in values):
            nested = _columns([value or {} for value in values])
            columns.update({k: v for k, v in nested.items() if k not in rows.features})
        else:
            columns[name] = values
    return Raw(columns, None, images, places, None, stamp)


def _paths_of(images: Any) -> tuple[list[str | None], int]:
    """Return the path of each picture, and how many have no bytes, without touching the bytes."""
    parts = images.data.column("image").chunks
    named = [path for part in parts for path in part.field("path").to_pylist()]
    return named, sum(part.field("bytes").null_count for part in parts)


def _place(path: str | None) -> str:
    """Return a path as it is below its repository, wherever the Hub's cache has put that."""
    return re.sub(r".*(@|/snapshots/)[0-9a-f]{40}/", "", path or "")


def _is_binary(feature: Any) -> bool:
    import datasets

    if isinstance(feature, datasets.Value):
        return feature.dtype in ("binary", "large_binary")
    return isinstance(feature, Mapping) and {"bytes", "path"} == set(feature)


def _keep_stream(rows: Any, source: Sequence[str], stamp: object) -> Any:
    """Read a stream once and keep it, pictures no larger than training needs."""
    import datasets

    image = next((n for n, f in rows.features.items() if isinstance(f, datasets.Image)), None)
    features = dict(rows.features)
    if image is not None:
        features[image] = datasets.Image(decode=False)
        rows = rows.decode(False)
    return datasets.Dataset.from_generator(
        _stream,
        features=datasets.Features(features),
        cache_dir=_cache(),
        gen_kwargs={"rows": rows, "image": image, "made_of": json.dumps([source, stamp])},
    )


def _stream(rows: Iterable[Mapping[str, Any]], image: str | None, made_of: str) -> Iterator[Any]:
    """Yield rows with their pictures as bytes; `made_of` names the copy that is kept."""
    import fsspec  # type: ignore[import-untyped]

    from .images import shrink

    for row in rows:
        record = row[image] if image is not None else None
        if record is None:
            yield row
            continue
        data, path = record.get("bytes"), record.get("path")
        if data is None and path:
            with fsspec.open(path) as file:
                data = file.read()
        small = shrink(data) if data else data
        yield {**row, image: {"path": path, "bytes": small}}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _stamp(files: Iterable[Path]) -> list[list[Any]]:
    stats = [(str(file), file.stat()) for file in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _cache() -> str:
    return str(paths.cache_dir("datasets"))


def _short(error: Exception) -> str:
    """Return the first line of what a library says, and of what made it say so."""
    said = str(error).strip() or type(error).__name__
    cause = str(error.__cause__ or "").strip()
    lines = dict.fromkeys(text.splitlines()[0] for text in (said, cause) if text)
    return "; ".join(lines)[:300]
