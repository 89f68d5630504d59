"""The commands of `domainclip zoo` that publish models."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domainclip.cli import output
from domainclip.cli.framework import option
from domainclip.cli.output import Output, format_options
from domainclip.errors import DataError, UsageError

from . import command

if TYPE_CHECKING:
    from domainclip.zoo.push import Plan


@command.command(
    "push",
    short_help="Publish a model with a model card.",
    help="Publish a model on the Hub with a model card.\n\nWithout --yes nothing is sent: what "
    "would be is shown. The token is that of HF_TOKEN, or of `hf auth login`.",
    examples=(
        "domainclip zoo push runs/first --to me/butterflies --licence CC-BY-4.0",
        'domainclip zoo push runs/first --to me/butterflies --author "A. Name" --yes',
    ),
)
@click.argument("model", metavar="RUN|FOLDER")
@option("Options", "--to", "repo", required=True, metavar="ORG/NAME", help="Name on the Hub.")
@option("Options", "--yes", is_flag=True, help="Send it.")
@option("Options", "--half", is_flag=True, help="Send the weights in half precision.")
@option("Options", "--private", is_flag=True, help="Show it to the organisation only.")
@option("Licences", "--licence", "--license", metavar="SPDX", default="",
        help="What it is published under: MIT, Apache-2.0, CC-BY-4.0, CC-BY-NC-4.0.")  # fmt: skip
@option("Licences", "--data-licence", metavar="SPDX", default="",
        help="Licence of training pictures whose source says none.")  # fmt: skip
@option("Licences", "--acknowledge", is_flag=True,
        help="Say that you may publish although a licence is not known.")  # fmt: skip
@option("Card", "--author", metavar="NAME", default="", help="Who publishes it.")
@option("Card", "--notes", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
        help="Markdown of yours for the part on limits and risks.")  # fmt: skip
@option("Card", "--card", "card_file", metavar="FILE", help="Write the card here, to read it.")
@format_options
def push(
    out: Output,
    model: str,
    repo: str,
    yes: bool,
    half: bool,
    private: bool,
    licence: str,
    data_licence: str,
    acknowledge: bool,
    author: str,
    notes: str | None,
    card_file: str | None,
) -> None:
    """Plan, show, and with --yes send."""
    from domainclip.zoo.push import plan_push

    plan = plan_push(
        model, repo, licence=licence, author=author, data_licence=data_licence,
        acknowledge=acknowledge, private=private, notes=_read_notes(notes), half=half,
    )  # fmt: skip
    if card_file:
        _write(Path(card_file), plan.card)
    if not out.quiet:
        for line in plan.warnings:
            output.warning(line)
    sent = ""
    if yes:
        from domainclip.zoo.sending import send

        sent = send(plan)
    _tell(out, plan, sent, card_file or "")


def _read_notes(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def _tell(out: Output, plan: Plan, sent: str, card_file: str) -> None:
    files = [{"file": piece.name, "bytes": piece.size} for piece in plan.pieces]
    if out.style == "json":
        out.value({
            "to": plan.repo, "private": plan.private, "licence": plan.licence, "files": files,
            "left_out": list(plan.left_out), "warnings": list(plan.warnings), "card": plan.card,
            "sent": sent or None,
        })  # fmt: skip
        return
    if sent:
        out.line(sent)
        return
    out.rows(files, ("file", "bytes"))
    if out.quiet:
        return
    if plan.left_out:
        output.note(f"stays here: {', '.join(plan.left_out)}")
    output.note("")
    output.note(_shorten(plan.card))
    lines = output.counted(len(plan.card.splitlines()), "line")
    output.note(
        f"[card: {lines}{f', in {card_file}' if card_file else '; --card FILE writes it'}]\n"
    )
    who = "private, " if plan.private else ""
    output.note(
        f"nothing was sent: {output.counted(len(files), 'file')}, {plan.size / 1e6:.1f} MB, would "
        f"go to {plan.repo} ({who}licence {plan.licence})"
    )
    output.hint(shlex.join(["domainclip", *sys.argv[1:], "--yes"]))


def _shorten(card: str) -> str:
    """Return the card's beginning without its head, down to the first part."""
    text = card.split("\n---\n", 1)[-1].strip()
    return text.partition("\n## ")[0].strip()
