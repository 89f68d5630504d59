"""Reads label tables and nested label files into columns of names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from domainclip.errors import LabelError, UsageError

from .lineages import COMMON_COLUMNS, SYNONYMS_COLUMN, Origin
from .names import clean

COMMON_KEY, SYNONYMS_KEY = "_common", "_synonyms"
"""Keys of a nested label that hold its other names."""
CHUNK = 256
"""Rows turned into columns at a time; many more would keep the garbage collector busy."""


def read_table(path: str | Path) -> dict[str, list[str]]:
    """Read a CSV or TSV file as columns of text; nothing is taken for a number or for missing.

    The separator is the one of comma, tab and semicolon that the header has most of. Equal texts
    of a column share memory. Blank lines at the end are left out.

    Raises:
        UsageError: If there is no such file.
        LabelError: If it is not UTF-8, has no header or repeats a column, or a row has more cells
            than the header.
    """
    place = Path(path)
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(",\t;", key=first.count), strict=True)
            header = [name.strip() for name in next(rows, [])]
            if not any(header):
                raise LabelError(f"{place} has no header", "its first row names the columns")
            if len(set(header)) < len(header):
                twice = sorted({name for name in header if header.count(name) > 1})
                raise LabelError(f"{place} has the columns {twice} twice")
            return _columns(rows, header, Origin(str(place), 2))
    except FileNotFoundError as error:
        raise UsageError(f"no file {place}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{place} is not UTF-8 ({error.reason})", "save it as UTF-8") from error
    except csv.Error as error:
        raise LabelError(f"{place} is no table: {error}", "look at its quotation marks") from error


def _columns(
    rows: Iterator[list[str]], header: Sequence[str], origin: Origin
) -> dict[str, list[str]]:
    width = len(header)
    columns: list[list[str]] = [[] for _ in header]
    shared: list[dict[str, str]] = [{} for _ in header]
    long: list[int] = []
    while chunk := list(islice(rows, CHUNK)):
        for number, row in enumerate(chunk, len(columns[0])):
            if len(row) != width:
                if any(row[width:]):
                    long.append(number)
                row[width:] = []
                row += [""] * (width - len(row))
        for column, known, cells in zip(columns, shared, zip(*chunk, strict=True), strict=True):
            column.extend(map(known.setdefault, cells, cells))
    if long:
        raise LabelError(
            f"{origin.say(long)}: more cells than the header's {width}",
            "a name with the separator in it needs quotation marks",
        )
    while columns[0] and not any(column[-1] for column in columns):
        for column in columns:
            column.pop()
    return dict(zip(header, columns, strict=True))


def write_table(path: str | Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Write columns as CSV in UTF-8, by RFC 4180."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # with other line ends it leaves a name with \r unquoted
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def read_nested(source: str | Path | Mapping[str, Any], ranks: Sequence[str]) -> dict[str, Any]:
    """Read nested labels into columns: one row for each label, its ancestors before it.

    A label is `name: {children}`, `name:` alone, or an item of a list; depth is rank. `_common` and
    `_synonyms` inside a label are its other names; an empty key skips a rank.

    Raises:
        UsageError: If there is no such file.
        LabelError: If a label occurs twice under one parent, lies deeper than there are ranks, or
            is neither a name, a list nor a mapping.
    """
    where = ""
    tree: Any = source
    if not isinstance(source, Mapping):
        where = f"{source}: "
        tree = _read_yaml(Path(source))
    columns: dict[str, list[Any]] = {r: [] for r in (*ranks, COMMON_COLUMNS[0], SYNONYMS_COLUMN)}
    seen: set[tuple[str, ...]] = set()

    def fail(message: str, lineage: tuple[str, ...], hint: str = "") -> LabelError:
        place = " > ".join(name or "-" for name in lineage)
        return LabelError(f"{where}{message}{f', under {place}' if place else ''}", hint)

    def add(lineage: tuple[str, ...], common: Any, synonyms: Any) -> None:
        if lineage in seen:
            raise fail(f"the label {lineage[-1]!r} occurs twice", lineage[:-1])
        seen.add(lineage)
        for i, rank in enumerate(ranks):
            columns[rank].append(lineage[i] if i < len(lineage) else "")
        columns[COMMON_COLUMNS[0]].append(common)
        columns[SYNONYMS_COLUMN].append(synonyms)

    def walk(value: Any, lineage: tuple[str, ...]) -> None:
        if isinstance(value, Mapping):
            items = [(k, v) for k, v in value.items() if k not in (COMMON_KEY, SYNONYMS_KEY)]
        elif isinstance(value, (list, tuple)):
            items = []
            for item in value:
                items += list(item.items()) if isinstance(item, Mapping) else [(item, None)]
        else:
            raise fail(
                f"{value!r} is neither a list nor a mapping of labels",
                lineage,
                f"a common name goes into {COMMON_KEY}",
            )
        if items and len(lineage) == len(ranks):
            raise fail(f"deeper than the {len(ranks)} ranks {', '.join(ranks)}", lineage)
        for key, below in items:
            if isinstance(key, (list, tuple, Mapping)):
                raise fail(f"a list without a name: {key!r}", lineage)
            name = clean(key)
            names = below if isinstance(below, Mapping) else {}
            if not name and not below:
                raise fail("a label without a name", lineage)
            if name:
                add((*lineage, name), names.get(COMMON_KEY), names.get(SYNONYMS_KEY))
            elif COMMON_KEY in names or SYNONYMS_KEY in names:
                raise fail("a skipped rank has names", (*lineage, name))
            if below:
                walk(below, (*lineage, name))

    if isinstance(tree, Mapping) and {COMMON_KEY, SYNONYMS_KEY} & set(tree):
        raise fail("other names outside a label", ())
    walk(tree, ())
    return columns


def _read_yaml(path: Path) -> Any:
    """Read YAML with every scalar as text, so that `007` and `no` stay names."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=loader)
    except FileNotFoundError as error:
        raise UsageError(f"no file {path}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not UTF-8 ({error.reason})", "save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise LabelError(f"{path} is not YAML: {' '.join(str(error).split())}") from error

    def value(node: Any, inside: tuple[int, ...] = ()) -> Any:
        if id(node) in inside:
            raise LabelError(f"{path}, line {node.start_mark.line + 1}: a label below itself")
        inside = (*inside, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [value(item, inside) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            lines: dict[Any, int] = {}
            for key, _ in node.value:
                name, line = clean(value(key, inside)), key.start_mark.line + 1
                if name in lines:
                    raise LabelError(f"{path}: {name!r} twice, in lines {lines[name]} and {line}")
                lines[name] = line
            return {clean(value(k, inside)): value(v, inside) for k, v in node.value}
        plain = node.style is None
        return None if plain and node.value in ("", "~", "null") else node.value

    if root is None:
        raise LabelError(f"{path} has no labels")
    return value(root)
