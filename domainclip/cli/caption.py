"""`domainclip caption`: write a caption for every picture, check it, and keep both."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domainclip.domains.registry import get_domain
from domainclip.errors import DomainclipError, UsageError

from . import output
from .choosing import read_columns
from .framework import Group, option
from .output import Output, format_options

if TYPE_CHECKING:
    from domainclip.captioning.run import Captioned
    from domainclip.captioning.store import CaptionStore
    from domainclip.endpoints.questions import Account

CAPTIONERS = ("bank", "openai", "transformers")
LISTED = 20
"""Pictures that were not captioned and are named; the rest are counted."""


@click.group(
    "caption",
    cls=Group,
    invoke_without_command=True,
    no_args_is_help=True,
    short_help="Write and check a caption for every picture.",
    help="Write and check a caption for every picture.\n\nIt can be stopped at any moment; the "
    "same command goes on where it stopped. Another prompt, model or setting is another "
    "generation, kept beside the old one.",
    examples=(
        "domainclip caption --domain biology --limit 20",
        "domainclip caption --domain medical --data photos/ --captioner openai "
        "--endpoint http://127.0.0.1:8000/v1 --model NAME",
        "domainclip caption report captions/",
    ),
)
@option("Pictures", "--domain", metavar="NAME", help="The field.")
@option("Pictures", "--data", default="builtin", show_default=True, metavar="SOURCE",
        help="`builtin`, a folder, a table, shards, or a Hub id.")  # fmt: skip
@option("Pictures", "--columns", default="", metavar="A=B,...",
        help="Which column plays which part, where the guess is wrong.")  # fmt: skip
@option("Pictures", "--split", "splits", default="", metavar="A,B",
        help="Only these splits, such as train,val.")  # fmt: skip
@option("Pictures", "--limit", type=click.IntRange(0), default=0, metavar="N",
        help="At most so many pictures.")  # fmt: skip
@option("Pictures", "--out", "folder", default="captions", show_default=True, metavar="FOLDER",
        help="Where captions are kept.")  # fmt: skip
@option("Captioner", "--captioner", type=click.Choice(CAPTIONERS), default="bank",
        show_default=True, help="Who writes: sentences of what is known of the label, or a "
        "language model, served or on this machine.")  # fmt: skip
@option("Captioner", "--model", default="", metavar="NAME|FOLDER",
        help="The model: a name that the endpoint knows, a Hub id, or for the bank a trained model "
        "that picks what fits the picture.")  # fmt: skip
@option("Captioner", "--endpoint", "endpoints", multiple=True, metavar="URL",
        help="An OpenAI-compatible server; may be repeated.")  # fmt: skip
@option("Captioner", "--key-env", default="OPENAI_API_KEY", show_default=True, metavar="NAME",
        help="Environment variable that holds the key.")  # fmt: skip
@option("Captioner", "--concurrency", type=click.IntRange(1), default=16, show_default=True,
        metavar="N", help="Questions under way at a time.")  # fmt: skip
@option("Captioner", "--timeout", type=click.FloatRange(0, min_open=True), default=60.0,
        show_default=True, metavar="SECONDS", help="Longest wait for one answer.")  # fmt: skip
@option("Captioner", "--price-in", type=click.FloatRange(0), default=0.0, metavar="X",
        help="Price of a million tokens read, for the account at the end.")  # fmt: skip
@option("Captioner", "--price-out", type=click.FloatRange(0), default=0.0, metavar="X",
        help="Price of a million tokens written.")  # fmt: skip
@option("Captioner", "--temperature", type=click.FloatRange(0), default=None, metavar="X",
        help="Sampling temperature.")  # fmt: skip
@option("Captioner", "--top-p", type=click.FloatRange(0, 1), default=None, metavar="X",
        help="Nucleus sampling.")  # fmt: skip
@option("Captioner", "--max-tokens", type=click.IntRange(1), default=None, metavar="N",
        help="Longest answer in tokens.")  # fmt: skip
@option("Captioner", "--device", default="auto", metavar="NAME",
        help="Where a model on this machine computes.")  # fmt: skip
@option("Captioner", "--seed", type=click.IntRange(0), default=0, show_default=True,
        help="Seed of all draws.")  # fmt: skip
@option("Wording", "--role", default="default", show_default=True,
        help="The domain's caption style.")  # fmt: skip
@option("Wording", "--form", type=click.Choice(["line", "sentence", "dense"]),
        help="What to write; unset, as the style says.")  # fmt: skip
@option("Wording", "--names", type=click.Choice(["say", "omit"]),
        help="Whether captions say the label's name; unset, as the style says.")  # fmt: skip
@option("Wording", "--max-words", type=click.IntRange(1), metavar="N",
        help="Longest caption in words.")  # fmt: skip
@option("Knowledge", "--knowledge", "--store", "facts", metavar="FILE",
        help="What is known of labels: the same file as --store of `domainclip knowledge`.  "
        "[default: the domain's]")  # fmt: skip
@option("Knowledge", "--text-columns", default="", metavar="A,B",
        help="Columns of the data that say something about the picture.")  # fmt: skip
@option("Knowledge", "--tag-columns", default="", metavar="A,B",
        help="Columns of the data that hold tags.")  # fmt: skip
@option("Checks", "--verifier", default="", metavar="URL",
        help="Server of a second model, asked whether the picture shows what is said.")  # fmt: skip
@option("Checks", "--verifier-model", default="", metavar="NAME",
        help="That model; not the one that writes.")  # fmt: skip
@option("Checks", "--verifier-key-env", default="", metavar="NAME",
        help="Environment variable that holds its key; unset, that of --key-env.")  # fmt: skip
@option("Checks", "--score-model", default="", metavar="RUN|FOLDER|NAME",
        help="Trained model, or one of the zoo, that scores how well picture and caption go "
        "together.")  # fmt: skip
@option("Checks", "--score-quantile", type=click.FloatRange(0, 1), default=0.05,
        show_default=True, metavar="X", help="Share of the lowest scores to reject.")  # fmt: skip
@option("Checks", "--strict", is_flag=True,
        help="Drop statements about which nothing is known.")  # fmt: skip
@option("Run", "--shard", default="1/1", show_default=True, metavar="I/N",
        help="Part i of n of the pictures, for many machines at once.")  # fmt: skip
@option("Run", "--retry", is_flag=True, help="Ask again where the checks rejected a caption.")
@option("Run", "--show-prompt", metavar="SAMPLE",
        help="Print exactly what would be sent for one picture, and stop.")  # fmt: skip
@format_options
@click.pass_context
def command(ctx: click.Context, /, out: Output, **asked: Any) -> None:
    """Caption what has no caption yet, and print the counts and the folder."""
    if ctx.invoked_subcommand is not None:
        return
    if not asked["domain"]:
        raise UsageError("no field is named", "--domain NAME; domainclip domains list shows them")
    from domainclip.captioning.job import Asked, Job
    from domainclip.data.captions import VERDICTS
    from domainclip.zoo.resolving import find_model

    for name in ("splits", "text_columns", "tag_columns"):
        asked[name] = _listed(asked[name])
    domain = get_domain(asked.pop("domain"))
    asked["columns"] = read_columns(asked["columns"])
    for name in ("score_model", *(["model"] if asked["captioner"] == "bank" else [])):
        if asked[name]:
            asked[name] = find_model(asked[name], domain.name)
    sample = asked["show_prompt"]
    job = Job(Asked(domain=domain, **asked))
    if sample is not None:
        click.echo(job.show_prompt(sample))
        return
    if not out.quiet:
        for line in job.samples.messages:
            output.note(line)
    with job.open_store() as store:
        for line in store.messages:
            output.warning(line)
        result = job.caption(store, progress=not out.quiet)
        due = asked["score_model"] or not (store.folder / VERDICTS).is_file()
        if (result.written or (due and result.skipped)) and not (result.stopped or result.error):
            result.reasons.update(job.check_all(store))
    choice = str(job.captioner.settings.get("choice", ""))
    _tell(result, job.unreadable, store, out, domain.name, asked, choice)


@command.command(
    "report",
    short_help="Count captions and verdicts; show examples with their pictures.",
    examples=("domainclip caption report captions/ --out report.html",),
)
@click.argument("folder", metavar="FOLDER")
@option("Options", "--out", "file", metavar="FILE",
        help="The page.  [default: report.html in the generation's folder]")  # fmt: skip
@format_options
def report_command(folder: str, file: str | None, out: Output) -> None:
    """Count captions and verdicts, and write a page with examples and their pictures."""
    from domainclip.captioning.report import report
    from domainclip.data.captions import find_generation

    page = Path(file) if file else find_generation(folder)[0].folder / "report.html"
    told = report(folder, page, tell=None if out.quiet else output.warning)
    if out.style == "json":
        out.value({"report": page, **told})
        return
    if not out.quiet:
        spent = ("tokens read", "tokens written")
        out.record({key: value for key, value in told.items() if value or key not in spent})
    out.line(str(page))


def _tell(
    result: Captioned,
    missing: Sequence[tuple[str, str]],
    store: CaptionStore,
    out: Output,
    domain: str,
    asked: Mapping[str, Any],
    choice: str,
) -> None:
    """Print what came of it, and end with the code that says so.

    `choice` is how the bank picks statements, "" for other captioners.
    """
    unreadable = [*missing, *result.unreadable]
    counts = {
        "written": result.written,
        **{name: result.counts[name] for name in ("kept", "rewritten", "rejected")},
        "skipped": result.skipped,
        "unreadable": len(unreadable),
        "failed": len(result.failed),
        "left": result.left,
    }
    again = " ".join(["domainclip", *map(shlex.quote, sys.argv[1:])])
    if out.style == "json":
        listed = {"unreadable": dict(unreadable), "failed": dict(result.failed)}
        spent = result.spent
        account = {
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "servers": {
                "answers": spent.by_endpoint,
                "tokens_in": spent.tokens_in,
                "tokens_out": spent.tokens_out,
                "requests_repeated": spent.retries,
                "cost": round(spent.cost, 4),
            },
        }
        account |= {"choice": choice} if choice else {}
        told = {"counts": counts, "checks": dict(result.reasons.most_common()), **listed, **account}
        out.value({**told, "folder": str(store.folder)})
    else:
        if not out.quiet:
            out.rows([{"outcome": name, "pictures": count} for name, count in counts.items()])
        out.line(str(store.folder))
    if not out.quiet and choice:
        which = "" if asked["model"] else "; --model RUN picks what fits the picture"
        output.note(f"statements were picked by {choice}{which}")
    if not out.quiet and result.reasons:
        blamed = ", ".join(f"{name} {count}" for name, count in result.reasons.most_common())
        output.note(f"what the checks rejected, changed or flagged: {blamed}")
    if not out.quiet and result.skipped:
        done = output.counted(result.skipped, "picture")
        output.note(f"{done} had a caption of this generation and were skipped")
    if not out.quiet and result.spent.answered:
        output.note(_say_spent(result.spent))
    for line in result.notes:
        output.warning(line)
    for kind, several in (("cannot be read", unreadable), ("got no caption", result.failed)):
        for one, reason in several[:LISTED]:
            output.warning(f"{one}: {reason}")
        if len(several) > LISTED:
            output.warning(f"{len(several) - LISTED} more")
        if several:
            output.error(f"{output.counted(len(several), 'picture')} {kind}")
    if result.error is not None:
        raise DomainclipError(result.error.message, result.error.hint)
    if result.stopped:
        output.error("interrupted", f"to go on: {again}")
        sys.exit(130)
    if not out.quiet:
        if result.failed:
            output.hint(f"{again}  (asks again what failed)")
        folder, data = (shlex.quote(asked[name]) for name in ("folder", "data"))
        pictures = f" --data {data}" if asked["data"] != "builtin" else ""
        output.hint(f"domainclip caption report {folder}")
        output.hint(f"domainclip train --domain {domain}{pictures} --data.captions {folder}")
    if unreadable or result.failed:
        sys.exit(1)


def _say_spent(spent: Account) -> str:
    several = ", ".join(f"{name} {count:,}" for name, count in spent.by_endpoint.items())
    cost = f", cost {spent.cost:,.2f}" if spent.cost else ""
    again = f", {spent.retries:,} requests repeated" if spent.retries else ""
    return (
        f"{spent.tokens_in:,} tokens read and {spent.tokens_out:,} written{cost}{again}; "
        f"answers by server: {several}"
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
