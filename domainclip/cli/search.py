"""`domainclip search`: find pictures by words, by a picture, or by a picture and a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from domainclip.errors import UsageError

from . import output
from .computing import device_option
from .framework import Command, option
from .output import Output, format_options


@click.command(
    "search",
    cls=Command,
    short_help="Find pictures by words, by a picture, or by both.",
    help="Find pictures by words, by a picture, or by both.\n\nWith both, the words say how what "
    "is looked for differs from the picture.",
    examples=(
        'domainclip search "a beetle with red-spotted wings" --index my-index',
        'domainclip search "bees on clover" --index my-index --k 50 --html found.html',
        'domainclip search --image a.jpg "blue wings" --minus "red wings" --index my-index',
        "domainclip search --image a.jpg --index my-index --where \"family = 'Apidae'\"",
    ),
)
@click.argument("text", required=False, metavar="[WORDS]")
@option("Options", "--index", "folder", required=True, metavar="FOLDER",
        help="What `domainclip index` made.")  # fmt: skip
@option("Options", "--k", type=click.IntRange(1), default=10, show_default=True,
        help="How many pictures.")  # fmt: skip
@option("Options", "--image", metavar="FILE", help="A picture that they are like.")
@option("Options", "--minus", metavar="WORDS",
        help="What they do not show, such as what a change takes the place of.")  # fmt: skip
@option("Options", "--weight", type=click.FloatRange(0, 1), default=0.5, show_default=True,
        help="How much words count beside a picture: 0 not at all, 1 alone.")  # fmt: skip
@option("Options", "--where", metavar="CONDITION",
        help="Only pictures for which this holds, in SQL: \"year > 2010 AND place = 'Rome'\". A "
        "wrong one tells the columns.")  # fmt: skip
@option("Options", "--exact", is_flag=True,
        help="Compare with every picture, however many there are.")  # fmt: skip
@option("Computing", "--model", metavar="RUN|FOLDER|NAME",
        help="Where the model that made the index is now.")  # fmt: skip
@device_option()
@option("Output", "--html", metavar="FILE",
        help="Write a contact sheet, one page in one file.")  # fmt: skip
@format_options
def command(
    out: Output,
    text: str | None,
    folder: str,
    k: int,
    image: str | None,
    minus: str | None,
    weight: float,
    where: str | None,
    exact: bool,
    model: str | None,
    device: str,
    html: str | None,
) -> None:
    """Print the pictures that are found, best first."""
    if text is None and image is None:
        raise UsageError("nothing to look for", "say WORDS, name a picture with --image, or both")
    from domainclip.inference.search.index import SearchIndex

    index = SearchIndex.open(folder, model=model, device=device)
    found = index.search(
        text, image=image, minus=minus, weight=weight, where=where, k=k, exact=exact
    )
    rows = found.rows()
    columns = _choose_columns(rows)
    out.rows(rows, ids="file_name", shorten=lambda row: {c: row[c] for c in columns})
    if not out.quiet:
        output.note(found.how)
    if not found:
        output.warning("no picture passes the condition" if where else "the index is empty")
    if html:
        from domainclip.inference.search.sheet import write_sheet

        page = write_sheet(found, html)
        if not out.quiet:
            output.note(f"written to {page}")


def _choose_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns for a narrow terminal: the first two that tell pictures apart."""
    from domainclip.inference.rows import FIXED

    if not rows:
        return []
    told: dict[tuple[str, ...], str] = {}
    for column in rows[0]:
        if column not in FIXED:
            told.setdefault(tuple(str(row[column]) for row in rows), column)
    several = [column for values, column in told.items() if len(rows) == 1 or len({*values}) > 1]
    return [*(column for column in rows[0] if column in FIXED), *several[:2]]
