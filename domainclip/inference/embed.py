"""Embeds pictures and texts into a file of unit vectors; stopped, it goes on where it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from domainclip.data.images import UnreadableImage

from .embeddings import check_ending, write_embeddings
from .encoding import Encoder
from .lance import connect
from .origin import Kind, Origin, plain, say_key
from .parts import Parts, gather
from .pictures import BOX, Crop

TEXTS = 512
"""Texts that are encoded at once."""


@dataclass(frozen=True)
class Embedded:
    """What came of embedding."""

    output: Path
    rows: int
    """Rows of the file."""
    made: int
    """Of them, those that this run computed; the others an earlier one had."""
    unreadable: list[tuple[str, str]]
    """(path, reason) of the pictures that are left out."""


def embed_pictures(
    encoder: Encoder,
    pictures: Iterable[str | Path | Crop],
    output: str | Path,
    *,
    head: str = "names",
) -> Embedded:
    """Write one unit vector for each picture or box, in the order in which they are named.

    Rows lie in `OUTPUT.parts/` until all are there: a run that is stopped is taken up again by the
    same call. A picture that is named twice has one row.

    Args:
        encoder: The model.
        pictures: Files, and boxes cut out of them.
        output: Ends in .parquet, .npz, .lance or .json; what is there is replaced at the end.
        head: The projection head; `names` serves where the model lacks it.

    Raises:
        UsageError: If the ending is another, or rows of another model or head are there.
    """
    seen: dict[str, None] = {}
    unreadable: list[tuple[str, str]] = []
    with _begin(encoder, output, head, "pictures") as parts:
        origin = parts.origin
        known = len(parts.known)
        for table in gather(picture_rows(encoder, origin, pictures, parts.known, seen, unreadable)):
            parts.add(table)
        return _finish(Path(output), parts, seen, known, unreadable)


def embed_texts(
    encoder: Encoder, texts: Iterable[str], output: str | Path, *, head: str = "names"
) -> Embedded:
    """Write one unit vector for each different text, as `embed_pictures` does for pictures.

    Raises:
        UsageError: As for pictures.
    """
    seen: dict[str, None] = {}
    with _begin(encoder, output, head, "texts") as parts:
        origin = parts.origin
        known = len(parts.known)
        for table in gather(text_rows(encoder, origin, texts, parts.known, seen)):
            parts.add(table)
        return _finish(Path(output), parts, seen, known, [])


def picture_rows(
    encoder: Encoder,
    origin: Origin,
    pictures: Iterable[str | Path | Crop],
    known: Collection[str] = (),
    seen: dict[str, None] | None = None,
    unreadable: list[tuple[str, str]] | None = None,
) -> Iterator[pa.Table]:
    """Yield the vectors of pictures, a batch at a time.

    Args:
        encoder: The model.
        origin: What it makes, as `Origin.of` says.
        pictures: Files, and boxes cut out of them.
        known: Keys of pictures that are left out.
        seen: Gets the key of each picture, in order, known or not.
        unreadable: Gets (path, reason) of each picture that cannot be read.
    """
    seen = {} if seen is None else seen
    failed = [] if unreadable is None else unreadable

    def wanted() -> Iterator[str | Path | Crop]:
        for picture in pictures:
            key = say_key(picture)
            if key not in seen:
                seen[key] = None
                if key not in known:
                    yield picture

    def note(picture: object, error: UnreadableImage) -> None:
        failed.append((plain(str(picture)), error.reason))

    for kept, vectors in encoder.stream(wanted(), origin.head, skip=note):
        yield origin.rows(kept, vectors.cpu().numpy())


def text_rows(
    encoder: Encoder,
    origin: Origin,
    texts: Iterable[str],
    known: Collection[str] = (),
    seen: dict[str, None] | None = None,
) -> Iterator[pa.Table]:
    """Yield the vectors of texts, a batch at a time, as `picture_rows` does of pictures."""
    seen = {} if seen is None else seen

    def wanted() -> Iterator[str]:
        for text in texts:
            key = say_key(text)
            if key not in seen:
                seen[key] = None
                if key not in known:
                    yield text

    source = wanted()
    while block := list(islice(source, TEXTS)):
        yield origin.rows(block, encoder.encode_texts(block, origin.head))


def _begin(encoder: Encoder, output: str | Path, head: str, kind: Kind) -> Parts:
    path = Path(output).expanduser()
    if check_ending(path) == ".lance":
        connect(path.parent)  # what is not installed is told before the work
    return Parts(path, Origin.of(encoder, head, kind))


def _finish(
    output: Path, parts: Parts, keys: Collection[str], known: int, unreadable: list[tuple[str, str]]
) -> Embedded:
    rows = sum(key in parts.known for key in keys)
    origin = parts.origin
    boxed = any("#xywh=" in key for key in keys)
    tables = parts.in_order(keys)
    if not boxed:
        tables = (
            table.drop_columns([c for c in BOX if c in table.schema.names]) for table in tables
        )
    write_embeddings(output.expanduser(), origin, tables)
    parts.remove()
    return Embedded(output, rows, len(parts.known) - known, unreadable)
