"""The columns of a source while they are made uniform."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.names import clean, fold
from domainclip.errors import DataError

from .columns import Columns
from .raw import Raw
from .splits import make_splits, read_splits, split_name, torn_groups

CAPTION_SEPARATOR = " | "
UNLABELLED = "picture"
"""Label of all pictures where none has one of its own."""
NAMED = 5
"""How many ids or labels a message names before it only counts them."""


class Table:
    """The columns of a source while it is made uniform; rows stay together."""

    def __init__(self, spec: str, raw: Raw, names: Columns, strict: bool) -> None:
        self.spec, self.raw, self.names, self.strict = spec, raw, names, strict
        self.problems = list(raw.messages)
        self.n = (
            len(raw.images) if raw.images is not None else len(next(iter(raw.columns.values())))
        )
        self.lines = names.lines()
        self.left_out: list[tuple[str, str]] = []
        self.keep = np.ones(self.n, dtype=bool)
        self.labels: list[str] = []
        self.unlabelled = False
        """Whether no row has a label of its own."""
        self.files: list[str] | None = None
        self.group = self._names("group")
        self.licence = self._names("licence")
        self.common = self._names("common")
        self.captions = self._captions()
        self.weights = self._weights()

    def find_pictures(self) -> None:
        """Find files, ids and stamps; rows without a file are left out."""
        raw, root = self.raw, self.raw.root
        if raw.images is not None:
            places = raw.places
            self.stamps: list[object] = [[raw.stamp, i] for i in range(self.n)]
        else:
            if "image" not in self.names.parts or root is None:
                raise DataError(
                    f"{self.spec}: no column names the picture files; "
                    f"there are {', '.join(raw.columns)}",
                    "say which by data.columns.image",
                )
            cells = [_text(cell) for cell in raw.columns[self.names.parts["image"]]]
            found = [_find(root, cell) for cell in cells]
            places = [place for place, _ in found]
            self.files = [str(root / place) for place in places]
            self.stamps = [stamp for _, stamp in found]
        self.places = places
        given = self._names("id")
        self.ids = [one or place for one, place in zip(given, places, strict=True)]
        twice = [one for one, count in Counter(self.ids).items() if count > 1 and one]
        if twice:
            raise DataError(
                f"{self.spec}: {some_of(twice, 'sample id')} occur{'s' * (len(twice) == 1)} twice",
                "give each picture one row, or name a column of unique ids by data.columns.id",
            )
        for row, stamp in enumerate(self.stamps):
            if stamp is None:
                self._leave_out(row, "the file is missing" if places[row] else "no file is named")
        if not self.keep.any():
            missing = f"; the first is {self.files[0]}" if self.files else ""
            raise DataError(
                f"{self.spec}: none of its {self.n} pictures exists{missing}",
                "paths are read from the folder of the table",
            )

    def find_labels(self, pairs: bool) -> None:
        """Find the label and the lineage of each row; rows without any are left out.

        Args:
            pairs: Where no picture has a label, give all that have captions the same one.
        """
        self._read_labels()
        if any(self.labels):
            self._leave_out_without(self.labels, "it has no label")
            return
        if not (pairs and any(self.captions)):
            raise DataError(
                f"{self.spec}: no picture has a label" + " or a caption" * pairs,
                "put pictures into one folder a class, or name the column by data.columns.label"
                + " or data.columns.caption" * pairs,
            )
        self.unlabelled = True
        self._leave_out_without(self.captions, "it has no label and no caption")
        self.labels = [UNLABELLED] * self.n
        self.lineages = {"label": self.labels}

    def find_captions(self) -> None:
        """Find what is said of each row: captions, else its label; rows without are left out."""
        self._read_labels()
        pairs = zip(self.captions, self.labels, strict=True)
        self.captions = [said or [label] * bool(label) for said, label in pairs]
        if not any(self.captions):
            raise DataError(
                f"{self.spec}: no picture has a caption or a label",
                "name the column by caption or label, or put pictures into one folder a class",
            )
        self._leave_out_without(self.captions, "it has no caption")

    def _read_labels(self) -> None:
        self.lineages = {r: self._cells(c) for r, c in self.names.ranks.items()}
        labels = self._names("label")
        self.folder_splits, folders = self._folders()
        if "label" not in self.names.parts and not self.lineages:
            labels = folders
            if any(labels):
                self.lines.append("label <- name of the folder")
        if not self.lineages:
            self.lineages = {"label": labels}
        else:
            finest = [next((n for n in line[::-1] if n), "") for line in self._lines_of_ranks()]
            pairs = list(zip(labels, finest, strict=True))
            if any(a and fold(a) != fold(b) for a, b in pairs):
                self.lineages["label"] = [a if fold(a) != fold(b) else "" for a, b in pairs]
                self.lines.append(f"ranks: {' > '.join(self.lineages)}")
            labels = [a or b for a, b in pairs]
        self.labels = labels

    def _leave_out_without(self, values: Sequence[Any], reason: str) -> None:
        for row, value in enumerate(values):
            if not value and self.keep[row]:
                self._leave_out(row, reason)

    def drop(self) -> None:
        """Drop the rows that are left out."""
        rows = np.flatnonzero(self.keep).tolist()
        self.rows = rows
        for name in ("ids", "places", "stamps", "labels", "group", "licence", "common", "captions"):
            values = getattr(self, name)
            setattr(self, name, [values[row] for row in rows])
        self.lineages = {r: [cells[row] for row in rows] for r, cells in self.lineages.items()}
        if self.files is not None:
            self.files = [self.files[row] for row in rows]
        if self.weights is not None:
            self.weights = self.weights[rows]
            wrong = np.flatnonzero(~(np.isfinite(self.weights) & (self.weights >= 0)))
            if len(wrong):
                first = self.ids[wrong[0]]
                said = self.raw.columns[self.names.parts["weight"]][rows[wrong[0]]]
                self.refuse(
                    f"{some_of([self.ids[i] for i in wrong.tolist()], 'weight')} cannot be used; "
                    f"that of {first} is {said!r}",
                    "weights are finite numbers from 0 on; where the column means something else, "
                    "rename it",
                )

    def find_splits(
        self, val_share: float, test_share: float, seed: int
    ) -> tuple[list[str], list[str]]:
        """Return the split of each row that is left, and messages."""
        given, said = self.given_splits()
        if given is not None:
            self.refuse(
                torn_groups(given, self.group),
                "move each group into one split, or drop the split column and let splits be made",
            )
        splits, made = make_splits(
            given,
            self.labels,
            self.group,
            val_share=val_share,
            test_share=test_share,
            seed=seed,
        )
        return splits, said + made

    def given_splits(self) -> tuple[list[str] | None, list[str]]:
        """Return the split that the data names for each row that is left, if any, and messages."""
        if "split" in self.names.parts:
            cells = self._names("split")
            return read_splits([cells[row] for row in self.rows])
        if self.raw.splits is not None:
            return read_splits([self.raw.splits[row] for row in self.rows])
        if self.folder_splits is not None:
            return [self.folder_splits[row] for row in self.rows], ["split <- name of the folder"]
        return None, []

    def refuse(self, problem: str, hint: str) -> None:
        """Raise a problem, or keep it where people only want to look.

        Raises:
            DataError: If there is one, and the table is strict.
        """
        if problem and self.strict:
            raise DataError(f"{self.spec}: {problem}", hint)
        if problem:
            self.problems.append(problem)

    def dataset(self, splits: list[str]) -> Any:
        """Return everything as one data set."""
        import datasets

        text = datasets.Value("string")
        columns: dict[str, Any] = {
            "id": self.ids,
            "split": splits,
            **self.lineages,
            "label": self.labels,
            "common": self.common,
            "captions": self.captions,
            "group": self.group,
            "licence": self.licence,
        }
        features = dict.fromkeys(columns, text) | {"captions": datasets.List(text)}
        if self.weights is not None:
            columns["weight"], features["weight"] = self.weights, datasets.Value("float64")
        table = datasets.Dataset.from_dict(columns, datasets.Features(features))
        if self.files is None:
            images = self.raw.images
            images = images if len(self.rows) == self.n else images.select(self.rows)
        else:
            records = [{"path": file, "bytes": None} for file in self.files]
            images = datasets.Dataset.from_dict(
                {"image": records}, datasets.Features({"image": datasets.Image(decode=False)})
            )
        return datasets.concatenate_datasets([images, table], axis=1)

    def _folders(self) -> tuple[list[str] | None, list[str]]:
        """Return split and class of each row as its folders say: `[split/]class/.../file`."""
        folders = [place.split("/")[:-1] for place in self.places]
        tops = {parts[0] for parts in folders if parts}
        named = {split_name(top) for top in tops}
        splits = None
        # a class may be called "train": only if every folder is a split are they splits; a picture
        # that lies loose beside train and test changes nothing about that
        several = all(folders) or {"train"} < named
        if self.files is not None and tops and None not in named and several:
            splits = [(split_name(parts[0]) if parts else None) or "train" for parts in folders]
            folders = [parts[1:] for parts in folders]
        if self.files is None:
            return None, [""] * self.n
        return splits, [clean(parts[0]) if parts else "" for parts in folders]

    def _lines_of_ranks(self) -> list[tuple[str, ...]]:
        return list(zip(*self.lineages.values(), strict=True))

    def _names(self, part: str) -> list[str]:
        column = self.names.parts.get(part)
        return [""] * self.n if column is None else self._cells(column)

    def _cells(self, column: str) -> list[str]:
        return [clean(_text(value)) for value in self.raw.columns[column]]

    def _weights(self) -> NDArray[np.float64] | None:
        if "weight" not in self.names.parts:
            return None
        cells = self.raw.columns[self.names.parts["weight"]]
        return np.array([_number(cell) for cell in cells], dtype=np.float64)

    def _captions(self) -> list[list[str]]:
        parts = [self.names.parts[p] for p in ("caption", "captions") if p in self.names.parts]
        cells = [[_split(value) for value in self.raw.columns[column]] for column in parts]
        if not cells:
            return [[] for _ in range(self.n)]
        return [
            list(dict.fromkeys(caption for cell in row for caption in cell))
            for row in zip(*cells, strict=True)
        ]

    def _leave_out(self, row: int, reason: str) -> None:
        self.keep[row] = False
        self.left_out.append((self.ids[row] or f"row {row + 1}", reason))


def _find(root: Path, cell: str) -> tuple[str, object]:
    """Return the place of a file below the root, and its stamp, None if it is missing."""
    for name in dict.fromkeys((cell, cell.replace("\\", "/"))):  # tables written on Windows
        path = root / name
        try:
            stat = path.stat() if name and path.is_file() else None
        except (OSError, ValueError):  # a name too long, or with a zero byte
            stat = None
        if stat is not None:
            inside = path.is_relative_to(root)
            place = path.relative_to(root).as_posix() if inside else path.as_posix()
            return place, [str(path.absolute()), stat.st_size, stat.st_mtime_ns]
    return cell, None


def is_missing(value: Any) -> bool:
    """Return whether a cell says nothing: none, not a number, or blank."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    """Return a cell as text; "" where it is missing."""
    if is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def _number(value: Any) -> float:
    """Return a cell as a number; not a number where it is none."""
    try:
        return math.nan if is_missing(value) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _split(value: Any) -> list[str]:
    """Return the captions in one cell: a list, JSON, or text with " | " between them."""
    if isinstance(value, list | tuple):
        parts = [_text(part) for part in value]
    else:
        text = _text(value).strip()
        parts = text.split(CAPTION_SEPARATOR)
        if text.startswith("[") and text.endswith("]"):
            with contextlib.suppress(json.JSONDecodeError):
                parts = [_text(part) for part in json.loads(text)]
    return [part.strip() for part in parts if part.strip()]


def some_of(names: Sequence[str], noun: str) -> str:
    """Say a few of many: "7 labels ('a', 'b', ...)"."""
    shown = ", ".join(repr(name) for name in names[:NAMED])
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({shown}{more})"
