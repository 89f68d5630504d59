"""`domainclip embed`: turn pictures or texts into unit vectors, for whatever comes after."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from domainclip.errors import UsageError

from . import output
from .computing import batch_size_option, device_option, precision_option
from .framework import Command, option
from .looking import find_named, finish, interrupted, watched

if TYPE_CHECKING:
    from domainclip.inference.encoding import Encoder, Precision


@click.command(
    "embed",
    cls=Command,
    short_help="Turn pictures or texts into vectors.",
    help="Turn pictures or texts into vectors.\n\nThey have length one. With --output it can be "
    "stopped at any moment; the same command goes on where it stopped. Without, JSON is printed as "
    "it comes.",
    examples=(
        "domainclip embed photos/ --model runs/first --output features.parquet",
        "domainclip embed crops.csv --model runs/first --head captions --output crops.npz",
        'domainclip embed --text "a red beetle" @more.txt --model runs/first --output texts.npz',
    ),
)
@click.argument("items", nargs=-1, required=True, metavar="IMAGE|FOLDER|LIST...")
@option("Options", "--model", required=True, metavar="RUN|FOLDER|NAME",
        help="The trained model, or one of the zoo.")  # fmt: skip
@option("Options", "--head", type=click.Choice(["names", "captions"]), default="names",
        show_default=True, help="The projection: made for labels, or for descriptions. Pictures "
        "and texts are compared under one.")  # fmt: skip
@option("Options", "--text", "is_text", is_flag=True,
        help="Embed texts: each argument is one, @FILE is one a line, and - reads "
        "them.")  # fmt: skip
@option("Options", "--output", "file", metavar="FILE",
        help="Write to a file that ends in .parquet, .npz, .json or .lance (a table of "
        "LanceDB).")  # fmt: skip
@batch_size_option()
@device_option()
@precision_option()
def command(
    items: tuple[str, ...],
    model: str,
    head: str,
    is_text: bool,
    file: str | None,
    batch_size: int,
    device: str,
    precision: Precision,
) -> None:
    """Write vectors to a file and print its name, or print the vectors."""
    found = find_items(items, is_text=is_text)
    from domainclip.inference.encoding import Encoder

    encoder = Encoder(model, device=device, batch_size=batch_size, precision=precision)
    kind: Literal["pictures", "texts"] = "texts" if is_text else "pictures"
    if file is None:
        unreadable = _print(encoder, found, head, kind)
        finish(unreadable, len(found))
        return
    from domainclip.inference.embed import embed_pictures, embed_texts

    embed = embed_texts if is_text else embed_pictures
    try:
        done = embed(encoder, watched(found, kind), file, head=head)
    except KeyboardInterrupt:
        interrupted()
    click.echo(done.output)
    noun = kind.removesuffix("s")
    before = f", {done.rows - done.made} of them before" if done.rows > done.made else ""
    output.note(f"{output.counted(done.rows, noun)}{before}, head {encoder.head(head)}")
    if not is_text and head == "captions":
        output.hint(f"domainclip index --embeddings {done.output} --out FOLDER")
    finish(done.unreadable, len(found))


def find_items(items: Sequence[str], *, is_text: bool) -> list[Any]:
    """Return the pictures, boxes or texts that arguments name.

    Raises:
        UsageError: If there are none.
    """
    if is_text:
        found: list[Any] = list(_read_texts(items))
        if not found:
            raise UsageError(
                f"no text in {', '.join(map(repr, items))}", "give texts, or @FILE with one a line"
            )
        return found
    return find_named(items)


def _print(
    encoder: Encoder, items: list[Any], head: str, kind: Literal["pictures", "texts"]
) -> list[tuple[str, str]]:
    """Print vectors as they come, and return the pictures that could not be read."""
    from domainclip.inference.embed import picture_rows, text_rows
    from domainclip.inference.embeddings import write_json
    from domainclip.inference.origin import Origin

    unreadable: list[tuple[str, str]] = []
    origin = Origin.of(encoder, head, kind)
    if kind == "texts":
        write_json(sys.stdout, origin, text_rows(encoder, origin, items))
    else:
        rows = picture_rows(encoder, origin, watched(items, kind), unreadable=unreadable)
        write_json(sys.stdout, origin, rows)
    return unreadable


def _read_texts(items: Sequence[str]) -> Iterator[str]:
    for item in items:
        if item == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        elif item.startswith("@"):
            path = Path(item[1:]).expanduser()
            if not path.is_file():
                raise UsageError(f"{item}: no such file", "name a file of one text a line")
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            yield from (line.strip() for line in lines if line.strip())
        elif item.strip():
            yield item.strip()
