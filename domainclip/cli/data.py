"""`domainclip data`: look at pictures and labels before they are used."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from domainclip.domains.registry import get_domain

from . import output
from .choosing import read_columns
from .framework import Group, Option
from .output import Output, format_options

command = Group(
    name="data",
    help="Look at pictures and labels before they are used.",
    examples=("domainclip data inspect photos/ --domain biology",),
)


@command.command(
    examples=(
        "domainclip data inspect photos/ --domain biology",
        "domainclip data inspect tiles.csv --domain remote_sensing --sheet sheet.jpg",
    )
)
@click.argument("source", metavar="PATH")
@click.option("--domain", required=True, cls=Option, metavar="NAME", help="The field.")
@click.option("--sheet", cls=Option, metavar="FILE", help="Write a contact sheet of the pictures.")
@click.option(
    "--columns",
    default="",
    cls=Option,
    metavar="A=B,...",
    help="Which column plays which part, where the guess is wrong: label=name,group=owner.",
)
@format_options
def inspect(source: str, domain: str, sheet: str | None, columns: str, out: Output) -> None:
    """Count pictures by rank, split and licence; find broken files, duplicates and leakage."""
    field = get_domain(domain)
    given = read_columns(columns)
    from domainclip.data.inspect import inspect as look

    file = Path(sheet) if sheet else None
    seen = look(source, field, sheet=file, columns=given, quiet=out.quiet)
    if out.style == "json":
        out.value({**seen.tables(), "problems": seen.problems, "unreadable": seen.unreadable})
    else:
        out.tables(seen.tables())
    for problem in seen.problems:
        output.warning(problem)
    if sheet and not out.quiet:
        output.note(f"contact sheet: {sheet}")
    if seen.unreadable:
        output.error(f"{output.counted(seen.unreadable, 'picture')} cannot be read")
        sys.exit(1)
