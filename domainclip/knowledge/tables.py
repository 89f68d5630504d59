"""Facts from a file of the user's own: CSV, TSV, JSON or JSON lines, one text a row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.domains.readers import read_table
from domainclip.errors import DataError, UsageError, suggest

from .lists import GUESSES, SHOWN, guess_columns, match_label
from .records import TABLE, Answer, Record, Trait

ENDINGS = (".csv", ".tsv", ".json", ".jsonl")

MEANT = 20
"""Unknown labels for which a similar one is looked for."""


@dataclass(frozen=True)
class _Fact:
    """One row that is about a label of the tree."""

    text: str
    traits: tuple[str, ...]
    cells: Mapping[str, str]
    row: str


class TableProvider:
    """What a file says of labels; a row whose label is unknown is reported, the others are used.

    Columns are guessed by name: a label or the ranks of the domain, a text or traits (a list, or
    text separated by ";"), and optionally section, source, licence, url and revision. A JSON file
    is a list of such objects, or one object of label -> text or object.

    Args:
        path: The file.
        domain: Its ranks, and its names of columns, are looked for.
        tree: The labels that the file may speak of.

    Attributes:
        name: "table:" and the file's whole path, under which the store keeps its answers: two files
            of one name are two sources.
        nodes: The labels that the file speaks of, in the file's order.
        problems: Rows that cannot be used and why, one line each.
        strangers: Number of those rows whose label has a name that this tree does not have.
        others: Number of rows about labels that the domain knows, but this tree does not have.

    Raises:
        UsageError: If there is no such file.
        DataError: If it cannot be read, has no rows, or has no column of labels or of texts.
    """

    def __init__(self, path: str | Path, domain: Domain, tree: LabelTree) -> None:
        self.path = Path(path).expanduser()
        self.name = f"{TABLE}{self.path.resolve().as_posix()}"
        self.problems: list[str] = []
        self.strangers = self.others = 0
        self._domain_tree = domain.labels()
        self._facts: dict[int, list[_Fact]] = {}
        rows = _read(self.path)
        columns = list(dict.fromkeys(name for _, row in rows for name in row))
        parts, ranks = guess_columns(columns, domain, tree)
        if "label" not in parts and not ranks:
            raise self._lacks("labels", ("label", "name", *domain.ranks), columns)
        if "text" not in parts and "traits" not in parts:
            raise self._lacks("texts", (*GUESSES["text"][:2], "traits"), columns)
        for place, row in rows:
            self._add(place, row, parts, ranks, tree)
        self.nodes = tuple(self._facts)

    async def ask(self, tree: LabelTree, node: int) -> Answer:
        """Return the rows about a label; `tree` is the one that the file was read for."""
        return self.answer(tree, node)

    def answer(self, tree: LabelTree, node: int) -> Answer:
        """Return the rows about a label, as `ask` does, without waiting for anything."""
        facts = self._facts.get(int(node), [])
        if not facts:
            return Answer("missing", reason=f"not in {self.path.name}")
        label = tree.key(node)
        records = []
        for fact in facts:
            cells = fact.cells
            digest = hashlib.sha256(json.dumps([fact.text, fact.traits]).encode()).hexdigest()
            revision = cells.get("revision", "") or digest[:12]
            traits = tuple(
                Trait(
                    text=text,
                    sentence=_sentence_with(text, fact.text),
                    source=self.path.name,
                    revision=revision,
                )
                for text in fact.traits
            )
            record = Record(
                label=label,
                subject=label,
                source="table",
                text=fact.text,
                title=cells.get("source", "") or self.path.name,
                section=cells.get("section", ""),
                url=cells.get("url", ""),
                revision=revision,
                licence=cells.get("licence", ""),
                traits=traits,
            )
            records.append(record)
        where = ", ".join(fact.row for fact in facts[:SHOWN])
        more = f" and {len(facts) - SHOWN} more" if len(facts) > SHOWN else ""
        return Answer("found", tuple(records), f"{where}{more} of {self.path.name}")

    async def close(self) -> None:
        """Do nothing: the file is read as a whole."""

    def _add(
        self,
        place: str,
        row: Mapping[str, Any],
        parts: Mapping[str, str],
        ranks: Iterable[str],
        tree: LabelTree,
    ) -> None:
        cells = {part: _text(row.get(column)) for part, column in parts.items() if part != "traits"}
        lineage = tuple(name for name in (_text(row.get(column)) for column in ranks) if name)
        label = cells.get("label", "")
        if label and label not in lineage:
            lineage = (*lineage, label)
        told = _traits(row.get(parts["traits"])) if "traits" in parts else ()
        text = cells.get("text", "") or "; ".join(told)
        if not lineage:
            self._problem(place, "it names no label")
        elif not text:
            self._problem(place, f"nothing is said of {lineage[-1]!r}")
        else:
            found = match_label(tree, lineage, near=len(self.problems) < MEANT)
            if not isinstance(found, str):
                self._facts.setdefault(found, []).append(_Fact(text, told, cells, place))
            elif isinstance(match_label(self._domain_tree, lineage, near=False), int):
                self.others += 1
            else:
                self.strangers += not tree.find(lineage[-1])
                self._problem(place, found)

    def _problem(self, place: str, reason: str) -> None:
        self.problems.append(f"{self.path}, {place}: {reason}")

    def _lacks(self, what: str, names: Iterable[str], columns: Sequence[str]) -> DataError:
        return DataError(
            f"{self.path} has no column of {what}; it has {', '.join(columns) or 'none'}",
            f"call it {' or '.join(dict.fromkeys(names))}",
        )


def _read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a file, each with where it stands."""
    ending = path.suffix.lower()
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"no file {path}", suggest(path.name, beside))
    if ending not in ENDINGS:
        raise UsageError(f"{path} is no file of facts", f"it ends in {', '.join(ENDINGS)}")
    if ending in (".csv", ".tsv"):
        columns = read_table(path)
        cells = zip(*columns.values(), strict=True)
        rows = [
            (f"row {i}", dict(zip(columns, row, strict=True))) for i, row in enumerate(cells, 2)
        ]
    else:
        rows = _read_json(path, lines=ending == ".jsonl")
    if not rows:
        raise DataError(f"{path} has no rows")
    return rows


def _read_json(path: Path, *, lines: bool) -> list[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason})", "save it as UTF-8") from error
    try:
        if lines:
            told = text.split("\n")
            values: list[tuple[str, Any]] = []
            for number, line in enumerate(told, 1):
                if line.strip():
                    values.append((f"line {number}", _parse(line, f"{path}, line {number}")))
        else:
            whole = _parse(text, str(path))
            if isinstance(whole, dict):
                whole = [
                    {"label": name, **(value if isinstance(value, dict) else {"text": value})}
                    for name, value in whole.items()
                ]
            if not isinstance(whole, list):
                raise DataError(f"{path} holds neither a list nor an object", "see the columns")
            values = [(f"item {number}", value) for number, value in enumerate(whole, 1)]
    except RecursionError as error:
        raise DataError(f"{path} is nested too deep") from error
    for place, value in values:
        if not isinstance(value, dict):
            raise DataError(f"{path}, {place} is no JSON object", "each is {label, text, ...}")
    return values


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is no JSON: {error.msg} (line {error.lineno})") from error


def _traits(value: Any) -> tuple[str, ...]:
    """Return the statements of one cell: a list, text that holds one as JSON, or with ";"."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            try:
                return _traits(json.loads(text))
            except json.JSONDecodeError:
                pass
        value = text.split(";")
    if isinstance(value, Mapping):
        value = [f"{name}: {said}" for name, said in value.items() if said]
    told = value if isinstance(value, (list, tuple)) else []
    return tuple(dict.fromkeys(text for text in map(_text, told) if text))


def _sentence_with(trait: str, text: str) -> str:
    """Return the sentence of a text that says a trait, else the trait itself."""
    from .sentences import split_sentences

    return next((s for s in split_sentences(text) if trait.casefold() in s.casefold()), trait)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, map(_text, value)))
    return " ".join(str(value).split())
