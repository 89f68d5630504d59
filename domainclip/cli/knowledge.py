"""`domainclip knowledge`: gather what is known of labels, and look at it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from domainclip.domains.registry import get_domain
from domainclip.errors import LabelError, UsageError, suggest

from . import output
from .framework import Group, Option, option
from .gathering import COLUMNS, LISTED, Gathering
from .label_page import LabelPage, say_lineage
from .output import Output, format_options
from .sources import forget, say_store, sources

if TYPE_CHECKING:
    from domainclip.domains.contract import Domain, LabelKey
    from domainclip.domains.labels import LabelTree
    from domainclip.knowledge.records import Provider
    from domainclip.knowledge.store import KnowledgeStore
    from domainclip.knowledge.tables import TableProvider

WIKIPEDIA = "wikipedia"
NAMED = 5
"""Names that a message lists before it only counts them."""


command = Group(
    name="knowledge",
    help="Gather what is known of labels, and look at it.",
    examples=(
        "domainclip knowledge fetch --domain biology --labels species.csv --contact me@example.org",
        'domainclip knowledge show "Papilio machaon" --domain biology',
        "domainclip knowledge sources --domain biology",
    ),
)


@command.command(
    examples=(
        "domainclip knowledge fetch --domain biology --contact me@example.org",
        "domainclip knowledge fetch --domain medical --from facts.csv",
    )
)
@option("Labels", "--domain", required=True, metavar="NAME", help="The field.")
@option("Labels", "--labels", metavar="FILE",
        help="The labels to ask about: a CSV of names or ranks, or one label a line.")  # fmt: skip
@option("Labels", "--data", metavar="SOURCE",
        help="Ask about the labels of these pictures; unset, about those in the files of --from, "
        "or with another source about the whole domain.")  # fmt: skip
@option("Labels", "--limit", type=click.IntRange(0), metavar="N", default=0,
        help="Ask about the first so many labels only.")  # fmt: skip
@option("Sources", "--from", "sources", multiple=True, metavar="wikipedia|FILE",
        help="Where to look, again for each: wikipedia, or a CSV, TSV, JSON or JSONL file of "
        "your own.  [default: wikipedia]")  # fmt: skip
@option("Sources", "--refresh", is_flag=True,
        help="Ask again about labels that were asked about before.")  # fmt: skip
@option("Sources", "--store", metavar="FILE",
        help="Where to keep it; unset, the domain's own file in the cache. `domainclip caption` "
        "takes the same file by --store or --knowledge.")  # fmt: skip
@option("Wikipedia", "--contact", envvar="DOMAINCLIP_CONTACT", show_envvar=True, metavar="MAIL",
        help="Your mail address or page, which the site asks for.")  # fmt: skip
@option("Wikipedia", "--site", metavar="URL",
        help="Address of another MediaWiki, such as a mirror.")  # fmt: skip
@option("Wikipedia", "--rate", type=click.FloatRange(0, min_open=True), metavar="X", default=5.0,
        show_default=True, help="Requests a second, at most.")  # fmt: skip
@option("Wikipedia", "--concurrency", type=click.IntRange(1), metavar="N", default=4,
        show_default=True, help="Labels asked about at a time.")  # fmt: skip
@option("Traits", "--extractor", type=click.Choice(["words", "model"]), default="words",
        show_default=True,
        help="Find traits by the domain's words, or ask a language model.")  # fmt: skip
@option("Traits", "--endpoint", "endpoints", multiple=True, metavar="URL",
        help="OpenAI-compatible server of --extractor model; may be repeated.")  # fmt: skip
@option("Traits", "--model", metavar="NAME", help="The language model at the endpoint.")
@option("Traits", "--key-env", metavar="NAME", default="OPENAI_API_KEY", show_default=True,
        help="Environment variable that holds the endpoint's key.")  # fmt: skip
@format_options
@click.pass_context
def fetch(
    ctx: click.Context,
    out: Output,
    domain: str,
    labels: str | None,
    data: str | None,
    sources: tuple[str, ...],
    limit: int,
    refresh: bool,
    store: str | None,
    contact: str | None,
    site: str | None,
    rate: float,
    concurrency: int,
    extractor: Literal["words", "model"],
    endpoints: tuple[str, ...],
    model: str | None,
    key_env: str,
) -> None:
    """Gather texts and visible traits of labels; what is known already is not asked for again."""
    field = get_domain(domain)
    sources = sources or (WIKIPEDIA,)
    _check_use(labels, data, sources, contact, field, extractor, endpoints, model)
    tree, nodes = _labels_to_ask(field, labels, data)
    from domainclip.knowledge.lookup import store_path
    from domainclip.knowledge.store import KnowledgeStore
    from domainclip.knowledge.tables import TableProvider

    providers: list[TableProvider | Provider] = []
    unknown: list[str] = []
    for source in dict.fromkeys(sources):
        if source == WIKIPEDIA:
            providers.append(_wikipedia(field, contact or "", site, rate))
        else:
            providers.append(table := TableProvider(source, field, tree))
            unknown += table.problems
            if table.others and not out.quiet:
                rows = output.counted(table.others, "row")
                output.note(f"{source}: {rows} about labels that are not asked for, not used")
    tables = [provider for provider in providers if isinstance(provider, TableProvider)]
    _say_some(unknown, "row", "cannot be used")
    try:
        with KnowledgeStore(store or store_path(field)) as kept:
            for message in kept.messages:
                output.warning(message)
            if not labels and not data and len(tables) == len(providers):
                nodes = _labels_of_files(tables, tree, kept)
            nodes = nodes[:limit] if limit else nodes
            gathering = Gathering(field, tree, nodes, kept, shown=not out.quiet)
            for provider in providers:
                if isinstance(provider, TableProvider):
                    gathering.read(provider)
                else:
                    gathering.ask(provider, concurrency=concurrency, refresh=refresh)
            if model and not gathering.stopped:
                gathering.reread(endpoints, model, key_env=key_env, again=refresh)
            example = gathering.example()
    except KeyboardInterrupt:
        output.error("interrupted; what was found is kept", _again(ctx))
        sys.exit(130)
    _finish(ctx, gathering, unknown, _way_in(tables, labels), example, out)


def _labels_of_files(
    tables: Sequence[TableProvider], tree: LabelTree, store: KnowledgeStore
) -> list[int]:
    """Return the labels that files speak of, then those that they spoke of and no longer do."""
    nodes = [node for table in tables for node in table.nodes]
    for table in tables:
        for key in store.labels(table.name, "found"):
            with contextlib.suppress(LabelError):  # taken in by --labels, unknown to the domain
                nodes.append(tree.node(key))
    return list(dict.fromkeys(nodes))


def _way_in(tables: Sequence[TableProvider], labels: str | None) -> str:
    """Return what takes in rows whose label is unknown; "" where there are none."""
    strange = next((str(table.path) for table in tables if table.strangers), "")
    if labels and strange:
        return f"labels that the domain does not know are taken in where {labels} lists them"
    if not strange:
        return ""
    listed = shlex.quote(strange) if strange.lower().endswith((".csv", ".tsv")) else "LIST"
    return (
        f"--labels {listed} takes in labels that the domain does not know, --data SOURCE those of "
        "your pictures"
    )


def _finish(
    ctx: click.Context,
    gathering: Gathering,
    unknown: list[str],
    way_in: str,
    example: str,
    out: Output,
) -> None:
    """Print the counts, what went wrong, and what to do next."""
    if out.style == "json":
        out.value(
            {
                "rows": gathering.rows,
                "unknown": unknown,
                "failed": gathering.failed,
                "stopped": gathering.stopped,
                "store": str(gathering.store.path),
            }
        )
    elif out.quiet:
        out.line(str(gathering.store.path))
    else:
        out.rows(gathering.rows, COLUMNS)
    _say_some(gathering.failed, "label", "could not be asked about")
    if gathering.stopped:
        output.error(gathering.stopped, f"what was found is kept; {_again(ctx)} goes on")
    elif unknown:
        several = output.counted(len(unknown), "row")
        output.error(f"{several} could not be used; the rest is kept", way_in)
    elif gathering.failed:
        several = output.counted(len(gathering.failed), "label")
        output.error(f"{several} could not be asked about", f"{_again(ctx)} asks again")
    if gathering.stopped or gathering.failed or unknown:
        sys.exit(1)
    if not out.quiet:
        domain, data = gathering.field.name, shlex.quote(ctx.params["data"] or "PICTURES")
        store = say_store(ctx.params["store"])
        output.hint(f"domainclip knowledge show {shlex.quote(example)} --domain {domain}{store}")
        output.hint(f"domainclip caption --domain {domain} --data {data}{store}")


def _say_some(lines: Sequence[str], noun: str, what: str) -> None:
    for line in lines[:LISTED]:
        output.warning(line)
    if len(lines) > LISTED:
        output.warning(
            f"and {output.counted(len(lines) - LISTED, noun)} more {what}; --json lists all"
        )


def _wikipedia(field: Domain, contact: str, site: str | None, rate: float) -> Provider:
    from domainclip.knowledge.wikipedia import WikipediaProvider

    assert field.knowledge is not None  # _check_use
    return WikipediaProvider(field.knowledge.wiki, contact=contact, site=site, rate=rate)


def _check_use(
    labels: str | None,
    data: str | None,
    sources: Sequence[str],
    contact: str | None,
    field: Domain,
    extractor: str,
    endpoints: Sequence[str],
    model: str | None,
) -> None:
    """Refuse what cannot go together before anything is opened.

    Raises:
        UsageError: With the way on.
    """
    if labels and data:
        raise UsageError("--labels and --data both say what to ask about", "give one of them")
    if WIKIPEDIA in sources:
        if field.knowledge is None:
            raise UsageError(
                f"the domain {field.name} says nothing about how to read {WIKIPEDIA}",
                "name a file of your own: --from FILE",
            )
        if not contact or ("@" not in contact and "://" not in contact):
            said = f"--contact {contact} is no address" if contact else "no contact is given"
            raise UsageError(
                f"{said}: {WIKIPEDIA} wants to know whom to write to when requests make trouble",
                "--contact you@example.org, or set DOMAINCLIP_CONTACT",
            )
    if (extractor == "model") != bool(endpoints or model) or (endpoints and not model):
        raise UsageError(
            "--extractor model, --endpoint and --model go together",
            "--extractor model --endpoint http://127.0.0.1:8000/v1 --model NAME",
        )


def _labels_to_ask(
    field: Domain, labels: str | None, data: str | None
) -> tuple[LabelTree, list[int]]:
    """Return a tree, and the nodes of it to ask about."""
    if labels:
        from domainclip.knowledge.lists import read_labels

        listed = read_labels(labels, field)
        if listed.unknown:
            named = ", ".join(listed.unknown[:NAMED])
            more = len(listed.unknown) - NAMED
            output.warning(
                f"{labels}: {output.counted(len(listed.unknown), 'label')} unknown to the domain "
                f"{field.name}, looked for by the names and ranks in the file alone: {named}"
                + (f" and {more} more" if more > 0 else "")
            )
        return listed.tree, listed.nodes
    if data == "builtin":
        tree = field.labels()
        return tree, [tree.node(sheet.label) for sheet in field.builtin.sheets()]
    if data:
        from domainclip.data.sources import open_source

        source = open_source(data, field, strict=False)
        return source.tree, list(dict.fromkeys(source.nodes.tolist()))
    tree = field.labels()
    return tree, tree.leaves.tolist()


def _again(ctx: click.Context) -> str:
    """Return the command that was typed, to be typed again."""
    words = ["domainclip", "knowledge", "fetch"]
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name or "")
        if source is not click.core.ParameterSource.COMMANDLINE or not param.opts:
            continue
        value = ctx.params.get(param.name or "")
        for one in value if isinstance(value, tuple) else (value,):
            words += [param.opts[0]] if one is True else [param.opts[0], str(one)]
    return shlex.join(words)


@command.command(
    examples=(
        'domainclip knowledge show "Papilio machaon" --domain biology',
        'domainclip knowledge show "Plantae > Morus" --domain biology --json',
    )
)
@click.argument("name")
@click.option("--domain", required=True, cls=Option, metavar="NAME", help="The field.")
@click.option("--store", cls=Option, metavar="FILE",
              help="Where it is kept; unset, the domain's own file in the cache.")  # fmt: skip
@format_options
def show(name: str, domain: str, store: str | None, out: Output) -> None:
    """Show what is known of a label: pages with revision and licence, sentences, visible traits.

    NAME is a name in any vocabulary, or a lineage such as "Animalia > Morus" where labels share it.
    """
    field = get_domain(domain)
    from domainclip.knowledge.lookup import KnowledgeBase, store_path
    from domainclip.knowledge.store import KnowledgeStore

    with KnowledgeStore(store or store_path(field), readonly=True) as kept:
        for message in kept.messages:
            output.warning(message)
        label, tree = _find_label(name, field, kept)
        base = KnowledgeBase(field, tree, kept)
        page = LabelPage(base, tree.node(label))
        page.write(out)
        if not page.records and not out.quiet:
            output.note(f"nothing is known of {say_lineage(label)}")
            if not page.asked:
                where = "--contact you@example.org" if field.knowledge else "--from FILE"
                output.hint(
                    f"domainclip knowledge fetch --domain {field.name} {where}{say_store(store)}"
                )


def _find_label(name: str, field: Domain, store: KnowledgeStore) -> tuple[LabelKey, LabelTree]:
    """Return the label that a name means, and a tree that it is in.

    Raises:
        UsageError: If there is none, or several.
    """
    from domainclip.domains.labels import LabelTree
    from domainclip.knowledge.lookup import agree

    tree = field.labels()
    lineage = tuple(part.strip() for part in name.split(">") if part.strip()) or (name,)
    ours = [tree.key(node) for node in tree.find(lineage[-1])]
    kept = [key for key in store.named(lineage[-1]) if not any(agree(key, own) for own in ours)]
    found = [*ours, *(key for i, key in enumerate(kept) if key not in kept[:i])]
    fits = [key for key in found if agree((*lineage[:-1], key[-1]), key)]
    formal = [key for key in fits if key[-1].casefold() == lineage[-1].casefold()]
    fits = formal or fits
    if len(fits) > 1:
        lines = "; ".join(say_lineage(key) for key in fits)
        raise UsageError(
            f"{name!r} stands for {len(fits)} labels: {lines}",
            f'domainclip knowledge show "{say_lineage(fits[0])}" --domain {field.name}',
        )
    if not fits:
        if found:
            raise UsageError(f"no label {name!r}", f"did you mean {say_lineage(found[0])!r}?")
        names = [n for node in range(len(tree)) for n in tree.all_names(node)]
        names += [key[-1] for key in store.labels()]
        raise UsageError(
            f"no label {name!r} in the domain {field.name} or in {store.path}",
            suggest(lineage[-1], names[:20_000])
            or "domainclip knowledge fetch --labels takes it in",
        )
    label = fits[0]
    if label in ours:
        return label, tree
    ranks = (*field.ranks, *(f"rank {i + 1}" for i in range(len(field.ranks), len(label))))
    return label, LabelTree.from_columns({r: [n] for r, n in zip(ranks, label, strict=False)})


command.add_command(sources)
command.add_command(forget)
