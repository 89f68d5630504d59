"""Finds the labels that a table of the user's names: their columns, and the nodes they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.domains.lineages import COMMON_COLUMNS
from domainclip.domains.names import clean, fold
from domainclip.domains.readers import read_table
from domainclip.errors import DataError, UsageError, suggest

from .lookup import agree

GUESSES: dict[str, tuple[str, ...]] = {
    "label": ("label", "name", "label_name", "class", "class_name", "category", "formal"),
    "text": ("text", "description", "desc", "summary", "facts", "knowledge", "caption", "body"),
    "section": ("section", "heading", "part"),
    "source": ("source", "reference", "citation", "title"),
    "licence": ("licence", "license", "rights"),
    "url": ("url", "link", "uri", "href"),
    "revision": ("revision", "revision_id", "version", "rev"),
    "traits": ("traits", "trait", "features", "characters"),
}
"""Names of columns by part, in order; capitals, blanks, dots, dashes and underscores do not count.

The names of one field come from its domain: its ranks, and its `columns`.
"""
SUGGEST_AMONG = 20_000
"""Names that are searched for a similar one; more would take seconds."""
SHOWN = 3
"""Lineages of one name that a message shows."""


class Labels(NamedTuple):
    """Labels that a user lists, in a tree with what the domain knows of them."""

    tree: LabelTree
    nodes: list[int]
    """Each label once, in the order of the list."""
    unknown: list[str]
    """Names that the domain does not know, and so has no lineage for."""


def read_labels(path: str | Path, domain: Domain) -> Labels:
    """Read a list of labels: a CSV or TSV with names or ranks, or one label a line.

    Args:
        path: The file.
        domain: Names the ranks, and brings the lineages of labels that it knows.

    Raises:
        UsageError: If there is no such file, or no label in it.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        raise UsageError(f"no file {place}", suggest(place.name, beside))
    theirs = domain.labels()
    if place.suffix.lower() in (".csv", ".tsv"):
        lineages, common = _lineages(read_table(place), domain, theirs, place)
    else:
        try:
            lines = place.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{place} is not UTF-8 ({error.reason})", "save it as UTF-8") from error
        lineages, common = {"label": [clean(line) for line in lines]}, None
    rows = [i for i, row in enumerate(zip(*lineages.values(), strict=True)) if any(row)]
    if not rows:
        raise UsageError(f"{place}: no label in it", "write one label a line, or a CSV of ranks")
    lineages = {rank: [cells[i] for i in rows] for rank, cells in lineages.items()}
    common = [common[i] for i in rows] if common else None
    own = LabelTree.from_columns(lineages, tuple(lineages), common=common)
    nodes = list(dict.fromkeys(own.nodes_of(lineages).tolist()))
    unknown = [own.names[node] for node in nodes if len(_fitting(theirs, own.path(node))) != 1]
    enriched = own.enrich(theirs)
    return Labels(enriched.tree, enriched.nodes[nodes].tolist(), unknown)


def _lineages(
    columns: Mapping[str, Sequence[str]], domain: Domain, tree: LabelTree, place: Path
) -> tuple[dict[str, list[str]], list[str] | None]:
    """Return the names of a list of labels by rank, and their common names."""
    parts, ranks = guess_columns(list(columns), domain, tree)
    if "label" not in parts and not ranks and len(columns) == 1:
        ((header, cells),) = columns.items()  # a list without a header
        return {"label": [clean(name) for name in (header, *cells)]}, None
    if "label" not in parts and not ranks:
        raise UsageError(
            f"{place} has no column of labels; it has {', '.join(columns)}",
            f"call it {' or '.join(dict.fromkeys(('label', 'name', *domain.ranks)))}",
        )
    found = {rank: [clean(name) for name in columns[column]] for column, rank in ranks.items()}
    names = [clean(name) for name in columns[parts["label"]]] if "label" in parts else []
    finest = [next(filter(None, row[::-1]), "") for row in zip(*found.values(), strict=True)]
    if not found:
        found["label"] = names
    elif any(a and fold(a) != fold(b) for a, b in zip(names, finest, strict=bool(names))):
        found["label"] = [
            a if fold(a) != fold(b) else "" for a, b in zip(names, finest, strict=True)
        ]
    shown = next((c for c in columns if plain(c) in map(plain, COMMON_COLUMNS)), None)
    common = list(columns[shown]) if shown and parts.get("label") != shown else None
    return found, common


def match_label(tree: LabelTree, lineage: Sequence[str], *, near: bool = True) -> int | str:
    """Return the one node that a name means, or a line that says why there is none.

    Args:
        tree: The labels.
        lineage: Names from coarse to fine, or the label's name alone, in any vocabulary.
        near: Look for a similar name where there is none, which takes time.
    """
    fits = _fitting(tree, lineage)
    if len(fits) == 1:
        return fits[0]
    name = lineage[-1]
    if several := fits or tree.find(name):
        lines = "; ".join(" > ".join(tree.path(n)) for n in several[:SHOWN])
        more = f"; and {len(several) - SHOWN} more" if len(several) > SHOWN else ""
        if fits:
            return f"{name!r} stands for {len(fits)} labels, give its lineage: {lines}{more}"
        return f"no label {' > '.join(lineage)}; there is {lines}{more}"
    names = (n for node in range(len(tree) if near else 0) for n in tree.all_names(node))
    meant = suggest(name, islice(names, SUGGEST_AMONG))
    return f"no label {name!r}" + (f"; {meant}" if meant else "")


def _fitting(tree: LabelTree, lineage: Sequence[str]) -> list[int]:
    """Return the nodes that a name can mean and whose lineage does not contradict the one given."""
    name, above = lineage[-1], lineage[:-1]
    fits = [n for n in tree.find(name) if not above or agree((*above, tree.names[n]), tree.key(n))]
    # a formal name counts for more than another label's common name
    formal = [n for n in fits if fold(tree.names[n]) == fold(name)]
    return formal or fits


def guess_columns(
    columns: Sequence[str], domain: Domain, tree: LabelTree
) -> tuple[dict[str, str], dict[str, str]]:
    """Return part -> column, and column -> rank, coarsest first."""
    left = {plain(name): name for name in reversed(columns)}

    def take(names: Iterable[str]) -> str | None:
        return next((left.pop(plain(name)) for name in names if plain(name) in left), None)

    wanted = dict.fromkeys((*domain.ranks, *tree.ranks))
    ranks = {r: take((r, *domain.columns.get(r, ()))) for r in wanted if r not in GUESSES}
    parts = {p: take((*names, *domain.columns.get(p, ()))) for p, names in GUESSES.items()}
    if not parts["label"] and not any(ranks.values()):
        parts["label"] = take(COMMON_COLUMNS)
    return (
        {part: column for part, column in parts.items() if column},
        {column: rank for rank, column in ranks.items() if column},
    )


def plain(name: str) -> str:
    """Return what two spellings of a column's name share."""
    return re.sub(r"[\W_]+", "", name.lower())
