"""A source of pictures, made uniform: ids, splits, labels, captions, groups and licences."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import clean, fold
from domainclip.errors import DataError

from .columns import Columns, guess_columns
from .raw import Raw, open_raw
from .splits import check_groups, make_splits, read_splits, split_name

CAPTION_SEPARATOR = " | "
NAMED = 5
"""How many ids or labels a message names before it only counts them."""


@dataclass(frozen=True)
class Source:
    """Pictures of one source, with what was found out about them."""

    name: str
    dataset: Any
    """A `datasets.Dataset` with the columns id, image (undecoded), split, label, the ranks, common,
    captions, group and licence; all text, captions a list."""
    ranks: tuple[str, ...]
    """Rank columns, coarsest first; ("label",) where the data has none."""
    tree: LabelTree
    nodes: NDArray[np.int32]
    """Shape (n,): the label node of each row."""
    stamps: list[object] = field(repr=False)
    """Changes with the picture, one a row."""
    guesses: list[str]
    """What was taken for what, one line each."""
    problems: list[str]
    """What a person should look at, one line each."""
    unreadable: list[tuple[str, str]]
    """(id, reason) of rows that were left out."""

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.dataset)


def open_source(
    spec: str,
    domain: Domain,
    *,
    columns: Mapping[str, str] | None = None,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    streaming: bool = False,
) -> Source:
    """Open a source of pictures; no picture is decoded.

    Args:
        spec: A folder, a CSV, TSV, JSONL or Parquet table, `.tar` shards or a Hub id.
        domain: Names ranks and further columns, and enriches the label tree.
        columns: Part -> column, where a guess would be wrong.
        val_share: Share of the training pictures for validation, where the data names none.
        test_share: Share of all pictures for the test, where the data names none.
        seed: Seed of splits that are made.
        streaming: Read shards and Hub data sets as a stream.

    Raises:
        DataError: If the source is missing, empty or contradicts itself.
        UsageError: If `columns` names what is not there.
    """
    raw = open_raw(spec, any_ending=domain.read_image is not None, streaming=streaming)
    names = guess_columns(list(raw.columns), domain, columns)
    table = _Table(spec, raw, names)
    table.find_pictures()
    table.find_labels()
    table.drop()
    splits, said = table.find_splits(val_share, test_share, seed)
    tree, nodes, matched = _build_tree(table, domain)
    known = f"{matched} of the {len(np.unique(nodes))} labels are known to the domain {domain.name}"
    return Source(
        spec,
        table.dataset(splits),
        tuple(table.lineages),
        tree,
        nodes,
        table.stamps,
        [*table.lines, *said, known],
        [*raw.messages, *_problems(table, tree, nodes, splits)],
        table.left_out,
    )


class _Table:
    """The columns of a source while it is made uniform; rows stay together."""

    def __init__(self, spec: str, raw: Raw, names: Columns) -> None:
        self.spec, self.raw, self.names = spec, raw, names
        self.n = (
            len(raw.images) if raw.images is not None else len(next(iter(raw.columns.values())))
        )
        self.lines = names.lines()
        self.left_out: list[tuple[str, str]] = []
        self.keep = np.ones(self.n, dtype=bool)
        self.files: list[str] | None = None
        self.group = self._names("group")
        self.licence = self._names("licence")
        self.common = self._names("common")
        self.captions = self._captions()

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
                f"{self.spec}: {_some(twice, 'sample id')} occur{'s' * (len(twice) == 1)} twice",
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

    def find_labels(self) -> None:
        """Find the label and the lineage of each row; rows without any are left out."""
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
        if not any(labels):
            raise DataError(
                f"{self.spec}: no picture has a label",
                "put pictures into one folder a class, or name the column by data.columns.label",
            )
        for row, label in enumerate(labels):
            if not label and self.keep[row]:
                self._leave_out(row, "it has no label")

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

    def find_splits(
        self, val_share: float, test_share: float, seed: int
    ) -> tuple[list[str], list[str]]:
        """Return the split of each row that is left, and messages."""
        said: list[str] = []
        given: list[str] | None = None
        if "split" in self.names.parts:
            cells = self._names("split")
            given, said = read_splits([cells[row] for row in self.rows])
        elif self.raw.splits is not None:
            given, said = read_splits([self.raw.splits[row] for row in self.rows])
        elif self.folder_splits is not None:
            given = [self.folder_splits[row] for row in self.rows]
            said = ["split <- name of the folder"]
        if given is not None:
            check_groups(given, self.group)
        splits, made = make_splits(
            given,
            self.labels,
            self.group,
            val_share=val_share,
            test_share=test_share,
            seed=seed,
        )
        return splits, said + made

    def dataset(self, splits: list[str]) -> Any:
        """Return everything as one data set."""
        import datasets

        text = datasets.Value("string")
        columns: dict[str, Sequence[Any]] = {
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
        table = datasets.Dataset.from_dict(dict(columns), datasets.Features(features))
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
        splits = None
        # a class may be called "train": only if every folder is a split are they splits
        if self.files is not None and tops and all(map(split_name, tops)) and all(folders):
            splits = [split_name(parts[0]) or "" for parts in folders]
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


def _build_tree(table: _Table, domain: Domain) -> tuple[LabelTree, NDArray[np.int32], int]:
    lines, common = _common_names(table)
    own = LabelTree.from_columns(lines, tuple(lines), common=common)
    nodes = own.nodes_of(table.lineages)
    enriched = own.enrich(domain.labels())
    return enriched.tree, enriched.nodes[nodes], enriched.matched


def _common_names(table: _Table) -> tuple[dict[str, list[str]], list[str]]:
    """Return lineages and the common name of each.

    Where labels lie below the ranks and all labels of one lineage share a common name, it is the
    lineage's: the crop is called apple, not the apple's disease.
    """
    lines, common = table.lineages, table.common
    if len(lines) < 2 or "label" not in lines or not any(common):
        return lines, common
    above = list(zip(*(cells for rank, cells in lines.items() if rank != "label"), strict=True))
    names: dict[tuple[str, ...], str] = {}
    for line, name in zip(above, common, strict=True):
        if name and any(line) and names.setdefault(line, name) != name:
            return lines, common
    extra = list(names)
    more = {rank: [line[i] for line in extra] for i, rank in enumerate(list(lines)[:-1])}
    more["label"] = [""] * len(extra)
    own = [name if not any(line) else "" for line, name in zip(above, common, strict=True)]
    return {rank: lines[rank] + more[rank] for rank in lines}, own + list(names.values())


def _problems(
    table: _Table, tree: LabelTree, nodes: NDArray[np.int32], splits: Sequence[str]
) -> list[str]:
    said = []
    if table.left_out:
        named = _some([one for one, _ in table.left_out], "picture")
        verb = "is" if len(table.left_out) == 1 else "are"
        reasons = ", ".join(dict.fromkeys(reason for _, reason in table.left_out))
        said.append(f"{named} {verb} left out: {reasons}")
    used = np.unique(nodes)
    if len(used) == 1:
        only = tree.name(int(used[0]))
        if not any(table.captions):
            raise DataError(
                f"{table.spec}: all pictures have the label {only!r}, so there is nothing to tell "
                "apart",
                "add pictures of another label, or captions",
            )
        said.append(f"all pictures have the label {only!r}; only captions tell them apart")
    where = np.asarray(splits)
    trained = set(nodes[where == "train"].tolist())
    tested = set(nodes[np.isin(where, ["test", "test_unseen"])].tolist())
    untested = [tree.name(node) or "" for node in sorted(trained - tested)]
    if untested:
        said.append(f"no test picture: {_some(untested, 'label')}")
    seen = set(nodes[where == "test"].tolist())
    untrained = [tree.name(node) or "" for node in sorted(seen - trained)]
    if untrained:
        said.append(f"in test, but not trained on: {_some(untrained, 'label')}")
    for name, several in tree.ambiguous().items():
        if np.isin(several, tree.ancestors[used]).all():
            lines = "; ".join(" > ".join(tree.path(node)) for node in several)
            said.append(f"{name!r} stands for {len(several)} labels of different lineage: {lines}")
    return said


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


def _text(value: Any) -> str:
    """Return a cell as text; "" where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


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


def _some(names: Sequence[str], noun: str) -> str:
    """Say a few of many: "7 labels ('a', 'b', ...)"."""
    shown = ", ".join(repr(name) for name in names[:NAMED])
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({shown}{more})"
