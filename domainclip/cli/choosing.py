"""What a command chooses from: labels, bins, lists and descriptions as they are typed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from domainclip.errors import DataError, LabelError, UsageError

if TYPE_CHECKING:
    from domainclip.domains.labels import LabelTree

TABLES = (".csv", ".tsv")
JSON = ".json"


def read_classes(text: str) -> list[str] | LabelTree | dict[str, list[str]]:
    """Return the labels of `--cls`: a list, or a file.

    A file is a CSV or TSV of ranks, JSON of label -> sentences, or has one label a line.

    Raises:
        UsageError: If there is no label in it, or no such file.
        DataError: If it is JSON of another kind.
    """
    path = Path(text).expanduser()
    if path.is_file() and path.suffix.lower() == JSON:
        return _from_json(path)
    if path.is_file() and path.suffix.lower() in TABLES:
        from domainclip.domains.labels import LabelTree

        return LabelTree.from_csv(path)
    if path.is_file():
        labels = [name.strip() for name in path.read_text(encoding="utf-8-sig").splitlines()]
        labels = [name for name in labels if name]
    else:
        labels = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
        if any(labels) and not all(labels):
            raise UsageError(f"--cls {text}: an empty label", "take a comma out, or name it")
    if not any(labels):
        raise UsageError(f"--cls {text}: no label", 'give a list such as "cat,dog", or a file')
    if len(labels) == 1 and not path.is_file() and path.suffix.lower() in (*TABLES, ".txt", JSON):
        raise UsageError(f"--cls {text}: no such file", "give a list with commas, or a file")
    return labels


def read_bins(file: str) -> dict[str, str]:
    """Return label -> bin from a table of two columns, whatever they are called.

    Raises:
        DataError: If it is no such table, or a label comes twice.
    """
    path = Path(file).expanduser()
    bins: dict[str, str] = {}
    with _opened(path, "--bins") as lines:
        reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        next(reader, None)  # the titles
        for number, row in enumerate(reader, 2):
            if not any(cell.strip() for cell in row):
                continue
            label, one = ([cell.strip() for cell in row] + ["", ""])[:2]
            if not (label and one):
                raise DataError(
                    f"{file}, line {number}: a label and its bin are wanted",
                    "the first column names labels, the second bins, under a line of titles",
                )
            if label in bins:
                raise LabelError(
                    f"{file}, line {number}: the label {label!r} is given twice", "give it once"
                )
            bins[label] = one
    if not bins:
        raise DataError(f"{file}: no label in it", "it has titles, then a label and a bin a line")
    return bins


def read_pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """Return name -> value from options such as `month=6`.

    Raises:
        UsageError: If one has no value.
    """
    pairs = [one.partition("=") for one in given]
    wrong = next((name for name, equals, value in pairs if not (equals and value.strip())), None)
    if wrong is not None:
        raise UsageError(f"{option} {wrong}: no value", f"write {option} NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_columns(text: str) -> dict[str, str]:
    """Return part -> column from `--columns`, such as `label=name,group=owner`.

    Raises:
        UsageError: If one has no column.
    """
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals for _, equals, _ in parts):
        raise UsageError(f"--columns {text}: no column", "write --columns PART=COLUMN")
    return {part.strip(): column.strip() for part, _, column in parts}


def read_descriptions(file: str) -> dict[str, list[str]] | Literal["knowledge"]:
    """Return label -> sentences from JSON, or from a table of labels and sentences.

    The word "knowledge" stays as it is. JSON is an object of lists, as CuPL (arXiv:2209.03320) and
    others publish them.

    Raises:
        DataError: If it is neither.
    """
    if file == "knowledge":
        return "knowledge"
    path = Path(file).expanduser()
    if path.suffix.lower() not in TABLES:
        return _from_json(path)
    with _opened(path, "--descriptions") as lines:
        return _from_table(lines, "\t" if path.suffix.lower() == ".tsv" else ",")


def _from_json(file: Path) -> dict[str, list[str]]:
    with _opened(file, "--descriptions") as lines:
        try:
            found = json.load(lines)
        except ValueError as error:
            raise DataError(f"{file} is not JSON: {error}") from error
    if not isinstance(found, Mapping) or not found:
        raise DataError(f"{file}: an object of label -> sentences is wanted")
    said = {str(label): [told] if isinstance(told, str) else told for label, told in found.items()}
    wrong = next(
        (
            label
            for label, told in said.items()
            if not isinstance(told, list) or not all(isinstance(one, str) for one in told)
        ),
        None,
    )
    if wrong is not None:
        raise DataError(f"{file}: the sentences of {wrong!r} are no list of texts")
    return said


def _from_table(lines: Iterable[str], delimiter: str) -> dict[str, list[str]]:
    rows = csv.reader(lines, delimiter=delimiter)
    next(rows, None)  # the titles
    said: dict[str, list[str]] = {}
    for row in rows:
        if len(row) > 1 and row[0].strip() and row[1].strip():
            said.setdefault(row[0].strip(), []).append(row[1].strip())
    return said


def _opened(path: Path, option: str) -> TextIO:
    if not path.is_file():
        raise UsageError(f"{option} {path}: no such file")
    return path.open(encoding="utf-8-sig", newline="")
