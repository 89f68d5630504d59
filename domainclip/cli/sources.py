"""`domainclip knowledge sources` and `forget`: who told what is known, and taking it back."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError, suggest

from . import output
from .framework import Command, Option
from .output import Output, format_options

COLUMNS = ("source", "found", "missing", "refused", "newest")


@click.command(
    "sources",
    cls=Command,
    short_help="List the sources that were asked, and what they answered.",
    examples=("domainclip knowledge sources --domain biology",),
)
@click.option("--domain", required=True, cls=Option, metavar="NAME", help="The field.")
@click.option("--store", cls=Option, metavar="FILE",
              help="Where it is kept; unset, the domain's own file in the cache.")  # fmt: skip
@format_options
def sources(domain: str, store: str | None, out: Output) -> None:
    """List the sources that were asked: labels found, missing and refused, and the newest answer.

    Labels are counted with the groups above them that were asked about in their place.
    """
    field = get_domain(domain)
    from domainclip.knowledge.lookup import store_path
    from domainclip.knowledge.store import KnowledgeStore

    with KnowledgeStore(store or store_path(field), readonly=True) as kept:
        for message in kept.messages:
            output.warning(message)
        told = kept.sources()
    out.rows((dict(zip(COLUMNS, one, strict=True)) for one in told), COLUMNS)
    if not told and not out.quiet:
        output.note(f"no source was asked yet; {kept.path} holds no answer")


@click.command(
    "forget",
    cls=Command,
    short_help="Take back what one source said.",
    examples=(
        "domainclip knowledge forget wikipedia --domain biology",
        "domainclip knowledge forget facts.csv --domain biology --yes",
    ),
)
@click.argument("source")
@click.option("--domain", required=True, cls=Option, metavar="NAME", help="The field.")
@click.option("--store", cls=Option, metavar="FILE",
              help="Where it is kept; unset, the domain's own file in the cache.")  # fmt: skip
@click.option("--yes", is_flag=True, cls=Option, help="Do not ask first.")
@format_options
def forget(source: str, domain: str, store: str | None, yes: bool, out: Output) -> None:
    """Take back what one source said, and the traits that were found in it.

    SOURCE is a name that `domainclip knowledge sources` shows; a file may be named by its path.
    Other sources, and the domain's own sheets, stay.
    """
    field = get_domain(domain)
    from domainclip.knowledge.lookup import store_path
    from domainclip.knowledge.store import KnowledgeStore

    path = Path(store or store_path(field)).expanduser()
    with KnowledgeStore(path, readonly=True) as kept:
        for message in kept.messages:
            output.warning(message)
        told = {one.provider: one for one in kept.sources()}
    name = find_source(source, tuple(told), path)
    if not yes and not _confirm(
        f"forget what {name} said of {output.counted(told[name].found, 'label')}?"
    ):
        output.note("nothing was forgotten")
        sys.exit(1)
    with KnowledgeStore(path) as kept:
        out.rows([{"source": name, "forgotten": kept.forget(name)}])


def find_source(text: str, names: Sequence[str], store: Path) -> str:
    """Return the source that is meant: by its name, or a file's path or name.

    Raises:
        UsageError: If there is none, or several.
    """
    from domainclip.knowledge.records import TABLE, shown_name

    if text in names:
        return text
    place = TABLE + Path(text.removeprefix(TABLE)).expanduser().resolve().as_posix()
    if place in names:
        return place
    found = [name for name in names if shown_name(name) in (text, TABLE + text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{text} stands for {len(found)} sources: {', '.join(found)}", "give the whole name"
        )
    raise UsageError(
        f"no source {text!r} in {store}",
        suggest(text, [*names, *map(shown_name, names)])
        or (f"there is {', '.join(names)}" if names else "it holds no answer"),
    )


def say_store(store: str | None) -> str:
    """Return the option that names a store, for a command to type; "" for the domain's own."""
    return f" --store {shlex.quote(store)}" if store else ""


def _confirm(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        UsageError: If nobody is there to answer.
    """
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise UsageError(
            "nobody answered, so nothing was forgotten", "--yes does not ask"
        ) from None
