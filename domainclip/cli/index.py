"""`domainclip index`: make pictures ready to be searched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domainclip.errors import UsageError

from . import output
from .computing import batch_size_option, device_option, precision_option
from .framework import Command, option
from .looking import find_named, finish, interrupted, watched
from .output import Output, format_options

if TYPE_CHECKING:
    from domainclip.inference.encoding import Precision
    from domainclip.inference.search.build import Indexed, Tell
    from domainclip.inference.search.metadata import Metadata


@click.command(
    "index",
    cls=Command,
    short_help="Make pictures ready to be searched.",
    help="Make pictures ready to be searched.\n\nWhat is known of each is kept beside it. Pictures "
    "that are in the index are skipped: the same command goes on after a stop, others add to it.",
    examples=(
        "domainclip index photos/ --model runs/first --out my-index --metadata photos.csv",
        "domainclip index more/ --out my-index",
        "domainclip index --embeddings features.parquet --out my-index",
    ),
)
@click.argument("pictures", nargs=-1, metavar="[IMAGE|FOLDER|LIST...]")
@option("Options", "--out", "folder", required=True, metavar="FOLDER", help="The index.")
@option("Options", "--model", metavar="RUN|FOLDER|NAME",
        help="The trained model, or one of the zoo; one that is there has its own.")  # fmt: skip
@option("Options", "--embeddings", metavar="FILE",
        help="Take the vectors that `domainclip embed` wrote.")  # fmt: skip
@option("Options", "--metadata", "tables", multiple=True, metavar="CSV",
        help="What is known of pictures: a column `file`, for boxes x,y,w,h, and any others; may "
        "be repeated.  [default: lists among the arguments, metadata.csv in folders]")  # fmt: skip
@option("Options", "--head", type=click.Choice(["names", "captions"]),
        help="The projection: made for descriptions, or for labels.  "
        "[default: captions]")  # fmt: skip
@batch_size_option()
@device_option()
@precision_option()
@format_options
def command(
    out: Output,
    pictures: tuple[str, ...],
    folder: str,
    model: str | None,
    embeddings: str | None,
    tables: tuple[str, ...],
    head: str | None,
    batch_size: int,
    device: str,
    precision: Precision,
) -> None:
    """Add pictures or vectors to an index, and print what came of it."""
    if bool(pictures) == bool(embeddings):
        raise UsageError("nothing to index, or two things", "name pictures, or --embeddings FILE")
    given = {"--model": model, "--head": head}
    spare = [name for name, value in given.items() if value and embeddings]
    if spare:
        raise UsageError(f"{spare[0]} and --embeddings: the vectors have theirs", "leave it out")
    known = _read_metadata(pictures, tables)
    tell = None if out.quiet else output.note
    try:
        if embeddings:
            done, asked = _take_vectors(folder, embeddings, known, tell), 0
        else:
            found = find_named(pictures)
            asked = len(found)
            from domainclip.inference.encoding import Encoder
            from domainclip.inference.search.build import index_pictures

            name, by = _find_model(folder, model, head)
            encoder = Encoder(name, device=device, batch_size=batch_size, precision=precision)
            shown = found if out.quiet else watched(found, "pictures")
            done = index_pictures(folder, encoder, shown, head=by, metadata=known, tell=tell)
    except KeyboardInterrupt:
        interrupted()
    _tell(out, done, with_metadata=bool(known.fields))
    finish(done.unreadable, asked)


def _read_metadata(pictures: tuple[str, ...], tables: tuple[str, ...]) -> Metadata:
    from domainclip.inference.search.metadata import Metadata, find_tables

    missing = [table for table in tables if not Path(table).expanduser().is_file()]
    if missing:
        raise UsageError(
            f"--metadata {missing[0]}: no such file", "name a CSV, TSV or Parquet file"
        )
    folders = [path for name in pictures if (path := Path(name).expanduser()).is_dir()]
    chosen = [Path(table).expanduser() for table in tables] or find_tables(pictures)
    return Metadata(chosen, folders)


def _take_vectors(folder: str, embeddings: str, known: Metadata, tell: Tell | None) -> Indexed:
    from domainclip.inference.embeddings import open_embeddings
    from domainclip.inference.search.build import index_vectors

    origin, rows = open_embeddings(Path(embeddings).expanduser())
    return index_vectors(folder, origin, rows, metadata=known, tell=tell)


def _find_model(folder: str, model: str | None, head: str | None) -> tuple[str, str]:
    """Return the model and the head to use: what was asked for, else those of the index.

    Raises:
        UsageError: If there is neither.
    """
    from domainclip.inference.search.store import ABOUT, Store

    if not (Path(folder).expanduser() / ABOUT).is_file():
        if model is None:
            raise UsageError(f"{folder} is no index yet, and no model is named", "--model RUN")
        return model, head or "captions"
    origin = Store.open(folder).origin
    return model or origin.model, head or origin.head


def _tell(out: Output, done: Indexed, *, with_metadata: bool) -> None:
    if out.quiet:
        out.line(str(done.folder))
        return
    record = {"pictures": done.rows, "added": done.added, "there before": done.known}
    if with_metadata:
        record["without metadata"] = done.unmatched
    record["unreadable"] = len(done.unreadable)
    out.record({**record, "index": str(done.folder)})
    if done.unmatched == done.added > 0 and with_metadata:
        output.warning("no row of the metadata names a picture that was added")
    if done.rows:
        output.hint(f'domainclip search "WORDS" --index {done.folder}')
    sys.stdout.flush()
