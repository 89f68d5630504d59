"""Example captions that show a language model the manner, found by the group of a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import fold
from domainclip.errors import DataError

Examples: TypeAlias = Mapping[str, Sequence[str]]
"""Captions by the name of a group, as in `Domain.examples`."""

BETWEEN = " > "
"""Between the names of a lineage."""

_BLANK = {"", "nan", "n/a", "na", "n.a", "<na>", "nat", "null", "none", "nil", "-", "--", "?"}


def is_blank(value: object) -> bool:
    """Return whether a value says nothing: no text, or what tables write for a missing cell."""
    return not isinstance(value, str) or value.strip(" \t\r\n\"'.,;").casefold() in _BLANK


def find_examples(
    domain: Domain, tree: LabelTree, node: int, table: Examples | None = None
) -> tuple[str, ...]:
    """Return the example captions of a label's group, or of the nearest group above that has any.

    A group is looked up by its lineage, whole or in part ("Animalia > Arthropoda"), then by each
    of its names alone, unless another group of the tree has that name too. What no group answers,
    the entry "" does.

    Args:
        domain: Its examples are used.
        tree: The label tree of the data.
        node: The label.
        table: Examples to use instead of the domain's.

    Returns:
        Captions, none of them blank; empty if there are none for any group.
    """
    known = clean_examples(domain.examples() if table is None else table)
    while node >= 0:
        path = tree.path(node)
        lineages = [BETWEEN.join(path[start:]) for start in range(len(path) - 1)]
        names = [name for name in tree.all_names(node) if not _is_shared(tree, node, name)]
        for key in (*lineages, *names):
            if found := known.get(_folded(key)):
                return found
        node = int(tree.parent[node])
    return known.get("", ())


def clean_examples(table: Examples) -> dict[str, tuple[str, ...]]:
    """Return the examples without blank ones, by folded names; groups left with none are absent."""
    found: dict[str, tuple[str, ...]] = {}
    for name, captions in table.items():
        several = [captions] if isinstance(captions, str) else list(captions or ())
        kept = tuple(" ".join(c.split()) for c in several if not is_blank(c))
        if kept:
            found[_folded(name)] = kept
    return found


def read_examples(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read a YAML or JSON file of example captions by group.

    Raises:
        DataError: If the file is missing, or is no mapping from names to captions.
    """
    import yaml

    hint = 'write `Group: [caption, caption]`, and "" for labels of no such group'
    try:
        read: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"examples {path}: {' '.join(str(error).split())}", hint) from error
    fits = isinstance(read, dict) and all(
        captions is None or isinstance(captions, str | list) for captions in read.values()
    )
    if not fits:
        raise DataError(f"examples {path}: no mapping from groups to captions", hint)
    return clean_examples({"" if name is None else str(name): c for name, c in read.items()})


def _is_shared(tree: LabelTree, node: int, name: str) -> bool:
    """Return whether a name is also that of a group elsewhere, neither above nor below."""
    line = set(tree.ancestors[node].tolist())
    return any(
        other not in line and node not in tree.ancestors[other].tolist()
        for other in tree.find(name)
    )


def _folded(key: str) -> str:
    return BETWEEN.join(fold(name) for name in key.split(">"))
