"""Pictures one at a time with everything known of each: built-in ones, or those of a source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domainclip.domains.contract import Domain, Sample
from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError, suggest

from .builtin import SPLITS, sample_builtin, split_sheets
from .decoding import digest, read_bytes
from .images import read_image


class Reader(Protocol):
    """Reads sample number i of one source."""

    def __call__(self, row: int, picture: bool) -> Sample:
        """Return it, its picture left empty unless it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of one source, read one at a time."""

    domain: Domain = field(repr=False)
    source: str
    tree: LabelTree
    ids: Sequence[str] = field(repr=False)
    nodes: NDArray[np.int32] = field(repr=False)
    """Label node of each sample, shape (n,)."""
    splits: Sequence[str] = field(repr=False)
    reader: Reader = field(repr=False)
    columns: tuple[str, ...] = ()
    """The user's own columns, as they come in `metadata`."""
    messages: tuple[str, ...] = ()
    """What was taken for what, and what a person should look at."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """(id, reason) of rows that were left out, such as those without a file."""

    def __len__(self) -> int:
        return len(self.ids)

    def facts(self, i: int) -> Sample:
        """Return everything known of sample i but its picture, which stays empty.

        `metadata` holds every column of the user's table by its own name. Built-in samples have
        their true `traits`.
        """
        return self.reader(i, False)

    def read(self, i: int) -> Sample:
        """Return sample i with its picture, as encoded bytes or as pixels.

        Raises:
            UnreadableImage: If its file cannot be read.
        """
        return self.reader(i, True)

    def picture(self, i: int, side: int | None = None) -> tuple[Image.Image, str]:
        """Return the picture of sample i as RGB, and the digest of its content.

        Args:
            i: Number of the sample.
            side: If given, a large JPEG may be decoded smaller, its shortest side at least twice
                this.

        Raises:
            UnreadableImage: If it cannot be read.
        """
        image = self.read(i).image
        if isinstance(image, np.ndarray):
            return Image.fromarray(image), digest(image.tobytes())
        data = image if isinstance(image, bytes) else read_bytes({"path": image, "bytes": None})
        picture = read_image(data, domain_reader=self.domain.read_image, side=side)
        return picture, digest(data)

    def find(self, sample_id: str) -> int:
        """Return the number of a sample.

        Raises:
            UsageError: If there is none of that id.
        """
        if sample_id not in self._rows:
            some = ", ".join(self.ids[:3])
            raise UsageError(
                f"no sample {sample_id!r} in {self.source}",
                suggest(sample_id, self.ids[:20_000]) or f"ids look like {some}",
            )
        return self._rows[sample_id]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {one: i for i, one in enumerate(self.ids)}


def open_samples(
    domain: Domain,
    source: str = "builtin",
    *,
    splits: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    size: int = 224,
    seed: int = 0,
    limit: int = 0,
    used: Sequence[str] = (),
) -> Samples:
    """Open the samples of a source; no picture is read.

    Args:
        domain: The domain.
        source: `builtin`, or whatever `open_source` takes.
        splits: Splits wanted; None for all.
        columns: Part -> column, where a guess would be wrong.
        size: Side of built-in pictures in pixels.
        seed: Seed of built-in pictures, of splits that are made, and of the choice under `limit`.
        limit: Samples at most, taken from the splits in their order; 0 for all. A larger limit
            takes the same ones and more.
        used: Columns that the caller reads by their own names, so that none is said to be unused.

    Raises:
        DataError: If the source is missing, empty or contradicts itself.
        UsageError: If there is no such split, or `columns` names what is not there.
    """
    if source == "builtin":
        return _open_builtin(domain, splits, size, seed, limit)
    return _open_source(domain, source, splits, columns, seed, limit, used)


def _open_builtin(
    domain: Domain, splits: Sequence[str] | None, size: int, seed: int, limit: int
) -> Samples:
    sizes, tree = domain.builtin.sizes, domain.labels()
    names = _wanted(splits, [name for name in SPLITS if sizes.get(name)], "built-in data")
    where = [(name, i) for name in names for i in range(sizes[name])]
    where = where[: limit or None]
    sheets = {name: split_sheets(domain.builtin, name) for name in names}
    nodes = {name: [tree.node(sheet.label) for sheet in sheets[name]] for name in names}

    def read(row: int, picture: bool) -> Sample:
        name, i = where[row]
        return sample_builtin(domain, name, i, size=size if picture else 0, seed=seed)

    return Samples(
        domain=domain,
        source="builtin",
        tree=tree,
        ids=[f"{name}/{i:06d}" for name, i in where],
        nodes=np.array([nodes[name][i % len(nodes[name])] for name, i in where], dtype=np.int32),
        splits=[name for name, _ in where],
        reader=read,
        messages=(f"built-in pictures of {domain.title.lower()}: schematic, not photographs",),
    )


def _open_source(
    domain: Domain,
    name: str,
    splits: Sequence[str] | None,
    columns: Mapping[str, str] | None,
    seed: int,
    limit: int,
    used: Sequence[str],
) -> Samples:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from .sources import open_source

    source = open_source(name, domain, columns=columns, seed=seed, strict=False, used=used)
    where = np.asarray(source.dataset["split"])
    there = [split for split in SPLITS if (where == split).any()]
    rng = np.random.default_rng(seed)
    order = [
        rng.permutation(rows) if limit else rows
        for rows in (np.flatnonzero(where == s) for s in _wanted(splits, there, name))
    ]
    rows = np.sort(np.concatenate(order)[: limit or None])
    images = source.dataset.select_columns(["image"])
    facts = source.dataset.select_columns(["id", "split", "captions", "group", "licence"])

    def read(row: int, picture: bool) -> Sample:
        at = int(rows[row])
        known = facts[at]
        sample = Sample(
            id=known["id"],
            image=b"",
            label=source.tree.key(int(source.nodes[at])),
            split=known["split"],
            captions=tuple(known["captions"]),
            group=known["group"],
            licence=known["licence"],
            metadata=source.metadata(at),
        )
        return replace(sample, image=read_bytes(images[at]["image"])) if picture else sample

    return Samples(
        domain=domain,
        source=name,
        tree=source.tree,
        ids=facts[rows]["id"],
        nodes=source.nodes[rows],
        splits=where[rows].tolist(),
        reader=read,
        columns=tuple(source.columns),
        messages=(*source.guesses, *source.problems),
        unreadable=tuple(source.unreadable),
    )


def _wanted(asked: Sequence[str] | None, there: Sequence[str], name: str) -> list[str]:
    for split in asked or ():
        if split not in there:
            raise UsageError(
                f"{name} has no split {split!r}; it has {', '.join(there)}", suggest(split, there)
            )
    return [split for split in there if asked is None or split in asked]
