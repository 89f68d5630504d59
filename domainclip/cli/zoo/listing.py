"""The commands of `domainclip zoo` that list and show models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domainclip.cli import output
from domainclip.cli.framework import option
from domainclip.cli.output import Output, format_options
from domainclip.domains.registry import find_domains
from domainclip.errors import DataError, UsageError, suggest
from domainclip.zoo.card import Card
from domainclip.zoo.catalogue import GENERAL_DOMAIN, Entry, find_cards, find_entry
from domainclip.zoo.store import find_pulled, size_of

from . import command
from .card_page import card_lines, count_megabytes, say_size

if TYPE_CHECKING:
    from domainclip.zoo.provenance import Step

COLUMNS = ("name", "title", "architecture", "licence", "megabytes", "state", "error")
HERE, TO_PULL, BY_HAND, TO_ACCEPT, BLOCKED, BROKEN = (
    "here",
    "to pull",
    "to import",
    "licence to accept",
    "cannot be loaded",
    "broken card",
)
ROOM = {"title": 110, "architecture": 50, "licence": 60, "size": 40}
"""Column -> width of the terminal from which on it is shown."""
LEAST = {"title": 12, "architecture": 10, "licence": 8}
"""Column -> width that is left to it where a line is too long."""


@command.command(
    "list", examples=("domainclip zoo list", "domainclip zoo list --domain biology --json")
)
@option("Options", "--domain", default="", metavar="NAME", help="Only the models of this domain.")
@format_options
def list_command(domain: str, out: Output) -> None:
    """List the models of the zoo; a broken card comes with its error."""
    found = find_cards(domain)
    if not found:
        _check_domain(domain)
    pulled = find_pulled()
    rows = [_row(entry, pulled.get(entry.name)) for entry in found.values()]
    rows += [
        _blank(name) | {"megabytes": count_megabytes(size_of(folder)), "state": HERE}
        for name, folder in pulled.items()  # models whose card has gone
        if name not in found and (not domain or name.startswith(f"{domain}/"))
    ]
    rows.sort(key=lambda row: (row["name"].startswith(f"{GENERAL_DOMAIN}/"), row["name"]))
    if out.style != "table":
        out.rows(rows, COLUMNS)
        return
    width = shutil.get_terminal_size().columns if out.stream.isatty() else 120
    out.rows(_table(rows, width))
    for row in rows:
        if row["error"]:
            output.warning(row["error"])
    count = {state: sum(row["state"] == state for row in rows) for state in (HERE, BLOCKED)}
    output.note(
        f"{output.counted(len(rows), 'model')}, {count[HERE]} here, "
        f"{count[BLOCKED]} that cannot be loaded; domainclip zoo show NAME says more"
    )


@command.command(
    examples=("domainclip zoo show biology/bioclip-2", "domainclip zoo show runs/first")
)
@click.argument("name", metavar="NAME|RUN|FOLDER")
@option("Options", "--domain", default="", metavar="NAME", help="Where to look for a short name.")
@format_options
def show(name: str, domain: str, out: Output) -> None:
    """Show what is known of a model, or what made the model of a run: step by step.

    A key with a question mark could not be checked against the files of its publishers.
    """
    found, pulled = find_cards(), find_pulled()
    if name not in found and (name in pulled or Path(name).expanduser().is_dir()):
        _show_steps(pulled.get(name, name), out)
        return
    entry = find_entry(name, domain)
    card = entry.read()
    here = pulled.get(card.name)
    state = _state(card, here)
    if out.style == "json":
        out.value({**card.to_dict(), "state": state, "folder": here, "card": entry.path})
    elif out.style == "table":
        out.page(card_lines(card, state, here, entry.path), (card.name, card.title))
    elif out.quiet:
        out.line(card.name)
    else:
        out.record({**card.to_dict(), "state": state, "folder": here, "card": entry.path})


def _row(entry: Entry, here: Path | None) -> dict[str, Any]:
    try:
        card = entry.read()
    except DataError as error:
        return _blank(entry.name) | {"state": BROKEN, "error": error.message}
    return _blank(entry.name) | {
        "title": card.title,
        "architecture": card.architecture or card.towers,
        "licence": card.licence,
        "megabytes": count_megabytes(size_of(here)) if here else card.megabytes,
        "state": _state(card, here),
    }


def _blank(name: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, "") | {"name": name, "megabytes": None}


def _state(card: Card, here: Path | None) -> str:
    if here:
        return HERE
    if card.blocked:
        return BLOCKED
    if card.restricted:
        return TO_ACCEPT
    return BY_HAND if card.by_hand else TO_PULL


def _table(rows: Sequence[Mapping[str, Any]], width: int) -> Iterator[dict[str, str]]:
    """Yield the rows of the table: each domain's name, then its models by their short names.

    Names and states are never cut; the widest of the other columns gives way.
    """
    shown = []
    for row in rows:
        folder, _, short = row["name"].partition("/")
        size = say_size(row["megabytes"])
        towers = row["architecture"].removesuffix("-quickgelu")
        told = {"domain": folder, "name": f"  {short}", "size": f"{size:>7}"}
        shown.append({**row, **told, "architecture": towers})
    columns = ["name", *(c for c in ROOM if width >= ROOM[c]), "state"]
    widths = {c: max(len(c), *(len(row[c]) for row in shown)) for c in columns}
    while sum(widths.values()) + 2 * (len(columns) - 1) > width:
        wide = [c for c in LEAST if widths.get(c, 0) > LEAST[c]]
        if not wide:
            break
        widths[max(wide, key=lambda c: widths[c])] -= 1
    domain = ""
    for row in shown:
        if row["domain"] != domain:
            domain = row["domain"]
            yield {"name": domain, **dict.fromkeys(columns[1:], "")}
        yield {c: _cut(row[c], widths[c]) for c in columns}


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _check_domain(domain: str) -> None:
    known = [*find_domains(), GENERAL_DOMAIN]
    if domain and domain not in known:
        raise UsageError(
            f"no domain {domain!r}", suggest(domain, known) or f"there are {', '.join(known)}"
        )


def _show_steps(folder: str | Path, out: Output) -> None:
    from domainclip.zoo.provenance import walk

    steps = walk(folder)
    if out.style == "json":
        out.value([step.as_dict() for step in steps])
    elif out.style == "table":
        said = [(str(i), "\n".join(_say_step(step))) for i, step in enumerate(steps, 1)]
        out.page(said, ("step", "the model first, what it all began with last"))
    else:
        out.rows([{"name": step.name, "kind": step.kind, "said": step.say()} for step in steps])


def _say_step(step: Step) -> Iterator[str]:
    yield step.say()
    if step.recipe:
        yield f"recipe: {', '.join(f'{key} {value}' for key, value in step.recipe.items())}"
