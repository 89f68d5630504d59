"""`domainclip domains`: list, show and check domains."""

from __future__ import annotations

import sys

import click

from domainclip.domains.registry import find_domains, get_domain, list_domains
from domainclip.errors import UsageError, suggest

from . import output
from .framework import Group
from .output import Output, format_options

command = Group(
    name="domains",
    help="List, show and check domains.",
    examples=("domainclip domains list", "domainclip domains check biology"),
)


@command.command("list", examples=("domainclip domains list", "domainclip domains list --json"))
@format_options
def list_command(out: Output) -> None:
    """List the domains that are installed; a broken one comes with its error."""
    rows = [
        {
            "name": row.name,
            "title": row.domain.title if row.domain else "",
            "summary": row.domain.summary if row.domain else "",
            "source": row.source,
            "error": row.error,
        }
        for row in list_domains()
    ]
    out.rows(rows)


@command.command(examples=("domainclip domains show medical",))
@click.argument("name")
@format_options
def show(name: str, out: Output) -> None:
    """Show what a domain brings: ranks, names, prompts, built-in data."""
    domain = get_domain(name)
    tree = domain.labels()
    sheets = domain.builtin.sheets()
    out.record(
        {
            "name": domain.name,
            "title": domain.title,
            "summary": domain.summary,
            "ranks": domain.ranks,
            "labels": len(tree.leaves),
            "formal names": domain.vocabularies.get("formal", ""),
            "common names": domain.vocabularies.get("common", ""),
            "prompt sets": {name: len(p.templates) for name, p in domain.prompts.items()},
            "noun": domain.noun,
            "built-in pictures": dict(domain.builtin.sizes),
            "built-in labels": {
                "seen": sum(sheet.seen for sheet in sheets),
                "unseen": sum(not sheet.seen for sheet in sheets),
            },
            "recipe": domain.recipe,
            "notice": domain.notice,
        }
    )


@command.command(examples=("domainclip domains check biology", "domainclip domains check"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@format_options
def check(names: tuple[str, ...], out: Output) -> None:
    """Run the contract checks on domains, all by default; the exit code is 1 where one fails."""
    found = find_domains()
    for name in names:
        if name not in found:
            hint = suggest(name, found) or f"there are {', '.join(found) or 'none'}"
            raise UsageError(f"no domain {name!r}", hint)
    rows = [
        {"domain": name, "problem": problem}
        for name in names or found
        for problem in _problems(name)
    ]
    out.rows(rows, ("domain", "problem"), ids="problem")
    checked = len(names or found)
    bad = len({row["domain"] for row in rows})
    if not out.quiet:
        output.note(f"{checked - bad} of {checked} domains keep the contract")
    if bad:
        sys.exit(1)


def _problems(name: str) -> list[str]:
    try:
        domain = get_domain(name)
    except UsageError as error:
        return [error.message]
    from domainclip.testing import check_domain

    return list(check_domain(domain))
