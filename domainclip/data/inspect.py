"""Looks at a source before it is used: counts, broken files, copies, leakage, a contact sheet."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Domain
from domainclip.errors import DataError, UsageError

from .decoding import digest, read_bytes
from .images import MAX_PIXELS, Reader, header_size, read_image, square
from .parallel import run_parallel
from .sources import Source, open_source
from .splits import torn_groups

ROW = Mapping[str, Any]


@dataclass(frozen=True)
class Inspection:
    """What was found in a source."""

    source: Source = field(repr=False)
    problems: list[str]
    """What a person should look at, one line each."""
    broken: list[tuple[str, str]]
    """(id, reason) of pictures that cannot be read."""
    copies: list[tuple[str, ...]]
    """Ids of pictures with the same content."""
    sizes: list[tuple[int, int]]
    """Width and height of each readable picture."""

    @property
    def unreadable(self) -> int:
        """How many pictures cannot be read."""
        return len(self.broken)

    def tables(self) -> dict[str, list[ROW]]:
        """Return counts by split, rank, licence and label, sizes, and what is wrong, by title."""
        data, tree = self.source.dataset, self.source.tree
        splits = list(data["split"])
        names = [name for name in ("train", "val", "test", "test_unseen") if name in set(splits)]

        def count(values: Iterable[str], title: str) -> list[ROW]:
            counts: dict[str, Counter[str]] = defaultdict(Counter)
            for value, split in zip(values, splits, strict=True):
                counts[value or "(none)"][split] += 1
            return [
                {title: value, **{n: found[n] for n in names}, "all": found.total()}
                for value, found in sorted(counts.items())
            ]

        ranks: list[ROW] = []
        for i, rank in enumerate(tree.ranks):
            held = tree.ancestors[self.source.nodes, i]
            named = held[held >= 0]
            ranks.append({"rank": rank, "names": len(set(named.tolist())), "pictures": len(named)})
        tables: dict[str, list[ROW]] = {
            "columns": _pairs(self.source.guesses),
            "splits": [self._split_row(name, np.array(splits) == name) for name in names],
            "ranks": ranks,
            "licences": count(data["licence"], "licence") if any(data["licence"]) else [],
            "sizes": self._size_rows(),
            "labels": count(data["label"], "label"),
            "broken": [{"id": one, "reason": reason} for one, reason in self.broken],
            "copies": [{"id": ids[0], "same as": ", ".join(ids[1:])} for ids in self.copies],
        }
        return {title: rows for title, rows in tables.items() if rows}

    def _split_row(self, name: str, inside: NDArray[np.bool_]) -> ROW:
        groups = [g for g, held in zip(self.source.dataset["group"], inside, strict=True) if held]
        counted = {"groups": len(set(groups) - {""})} if any(groups) else {}
        labels = np.unique(self.source.nodes[inside])
        return {"split": name, "pictures": int(inside.sum()), "labels": len(labels), **counted}

    def _size_rows(self) -> list[ROW]:
        if not self.sizes:
            return []
        sizes = np.array(self.sizes)
        return [
            {
                "side": side,
                "least": int(cells.min()),
                "median": int(np.median(cells)),
                "most": int(cells.max()),
            }
            for side, cells in zip(("width", "height"), sizes.T, strict=True)
        ]


def inspect(
    source: str,
    domain: Domain,
    *,
    sheet: Path | None = None,
    columns: Mapping[str, str] | None = None,
    max_pixels: int = MAX_PIXELS,
    quiet: bool = False,
) -> Inspection:
    """Read every picture of a source and say what there is and what is wrong.

    Args:
        source: A folder, a table, shards or a Hub id.
        domain: The domain.
        sheet: Where to write a contact sheet; the ending says the format.
        columns: Part -> column, where a guess would be wrong.
        max_pixels: A picture of more pixels counts as unreadable.
        quiet: Show no progress bar.

    Raises:
        DataError: If there is no source, or nothing in it.
        UsageError: If the contact sheet cannot be of that format.
    """
    opened = open_source(source, domain, columns=columns, strict=False, pairs=True)
    found = _scan(opened, domain.read_image, max_pixels, quiet)
    ids, splits = list(opened.dataset["id"]), list(opened.dataset["split"])
    broken = [*opened.unreadable, *((ids[i], f.reason) for i, f in enumerate(found) if f.reason)]
    same: dict[str, list[int]] = defaultdict(list)
    for i, seen in enumerate(found):
        if seen.digest and not seen.reason:
            same[seen.digest].append(i)
    copies = [rows for rows in same.values() if len(rows) > 1]
    problems = list(opened.problems)
    if torn := torn_groups(splits, list(opened.dataset["group"])):
        problems += [torn] if not any(torn in problem for problem in problems) else []
    problems += _copy_problems(copies, ids, splits)
    if sheet is not None:
        good = [i for i, seen in enumerate(found) if not seen.reason]
        draw_sheet(opened, good, sheet, domain.read_image)
    return Inspection(
        opened,
        problems,
        broken,
        [tuple(ids[row] for row in rows) for rows in copies],
        [seen.size for seen in found if seen.size and not seen.reason],
    )


def draw_sheet(
    source: Source, rows: Sequence[int], path: Path, reader: Reader | None = None, most: int = 64
) -> None:
    """Write a contact sheet: some pictures of every label, each with its label below.

    Raises:
        DataError: If there is no picture to show, or the file cannot be written.
        UsageError: If the ending is no format of pictures.
    """
    from PIL import Image, ImageDraw

    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"{path}: a contact sheet is a .png, .jpg or .webp file")
    if not rows:
        raise DataError("no picture can be read, so there is no contact sheet")
    side, line, labels = 112, 16, list(source.dataset["label"])
    by_label: dict[str, list[int]] = defaultdict(list)
    for row in np.random.default_rng(0).permutation(rows).tolist():
        by_label[labels[row]].append(row)
    each = max(1, most // len(by_label))
    shown = [row for label in sorted(by_label) for row in by_label[label][:each]][:most]
    across = min(8, len(shown))
    down = -(-len(shown) // across)
    canvas = Image.new("RGB", (across * side, down * (side + line)), "white")
    pen = ImageDraw.Draw(canvas)
    for at, row in enumerate(shown):
        left, top = at % across * side, at // across * (side + line)
        data = read_bytes(source.dataset[row]["image"])
        picture = read_image(data, domain_reader=reader, side=side)
        canvas.paste(Image.fromarray(square(picture, side - 2)), (left + 1, top + 1))
        name = labels[row]
        while name and pen.textlength(name) > side - 4:
            name = name[:-1]
        pen.text((left + 2, top + side), name, fill="black")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path)
    except OSError as error:
        raise DataError(
            f"{path}: the contact sheet cannot be written ({error.strerror})"
        ) from error


@dataclass(frozen=True)
class _Seen:
    """What one picture was found to be; a reason where it cannot be read."""

    digest: str = ""
    size: tuple[int, int] | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Look:
    """Reads pictures and keeps none."""

    images: Any
    reader: Reader | None
    max_pixels: int

    def __call__(self, rows: range) -> list[_Seen]:
        seen = []
        for row in rows:
            try:
                data = read_bytes(self.images[row]["image"])
            except DataError as error:
                seen.append(_Seen(reason=getattr(error, "reason", error.message)))
                continue
            try:
                picture = read_image(
                    data, domain_reader=self.reader, max_pixels=self.max_pixels, side=32
                )
                seen.append(_Seen(digest(data), header_size(data) or picture.size))
            except DataError as error:
                seen.append(_Seen(digest(data), None, error.message))
        return seen


def _scan(source: Source, reader: Reader | None, max_pixels: int, quiet: bool) -> list[_Seen]:
    from tqdm import tqdm

    found = [_Seen()] * len(source)
    look = _Look(source.dataset.select_columns(["image"]), reader, max_pixels)
    bar = tqdm(
        total=len(source), desc="reading", unit=" pictures", file=sys.stderr, disable=quiet or None
    )
    with bar:
        for rows, seen in run_parallel(look, len(source), f"reading {source.name}"):
            found[rows.start : rows.stop] = seen
            bar.update(len(rows))
    return found


def _copy_problems(
    copies: Sequence[Sequence[int]], ids: Sequence[str], splits: Sequence[str]
) -> list[str]:
    said = []
    if copies:
        extra = sum(len(rows) - 1 for rows in copies)
        said.append(f"{extra} picture{'s are copies' if extra > 1 else ' is a copy'} of another")
    leaked = [rows for rows in copies if len({splits[row] for row in rows}) > 1]
    if leaked:
        shown = "; ".join(
            " = ".join(f"{ids[row]} ({splits[row]})" for row in rows) for rows in leaked[:5]
        )
        more = f"; and {len(leaked) - 5} more" if len(leaked) > 5 else ""
        said.append(f"the same picture in two splits, {len(leaked)} times: {shown}{more}")
    return said


def _pairs(guesses: Sequence[str]) -> list[ROW]:
    """Return the guesses "part <- column" as rows."""
    split = [line.split(" <- ", 1) for line in guesses if " <- " in line]
    return [{"part": part, "column": column} for part, column in split]
