"""General pictures with captions, mixed into training so that a model forgets less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Domain
from domainclip.errors import DataError, UsageError
from domainclip.recipe.schema import Recipe

from .batches import PictureSet
from .columns import guess_columns
from .decoding import Decoded, Decoder, find_unreadable, pack
from .packed import Packed, Pictures, fingerprint
from .raw import open_raw
from .table import Table

_FEWEST_HELD, _MOST_HELD = 4, 500


@dataclass(frozen=True)
class Replay:
    """The pictures of `data.replay`."""

    pictures: PictureSet
    """Nodes are negative: -1 - number of the first caption among all different ones."""
    digest: str
    """Changes with the pictures, their captions and the packing."""
    messages: list[str]
    licences: dict[str, int]
    """Licence -> pictures under it; "" for those whose source says none."""


def open_replay(recipe: Recipe, domain: Domain, side: int) -> Replay:
    """Open the pictures of `data.replay`, packed where that has not been done.

    A picture is paired with its captions, or where it has none with its label. Where the source
    names splits, those held out stay out. At most `data.limit` pictures are taken.

    Args:
        recipe: The recipe.
        domain: Names further columns.
        side: Side that pictures are packed at.

    Raises:
        DataError: If the source cannot be used, or its pictures have neither captions nor labels.
    """
    asked = recipe.data
    raw = open_raw(asked.replay, streaming=asked.streaming)
    table = Table(asked.replay, raw, guess_columns(list(raw.columns), domain), strict=True)
    table.weights = None  # those are for pairs of the field
    table.find_pictures()
    table.find_captions()
    table.drop()
    given, _ = table.given_splits()
    splits = given or ["train"] * len(table.rows)
    rows = np.flatnonzero(np.asarray(splits) == "train")
    if asked.limit:
        rows = np.sort(np.random.default_rng(recipe.seed).permutation(rows)[: asked.limit])
    images = table.dataset(splits).select_columns(["image"])
    decoder = Decoder(images, rows, side, None, asked.max_pixels)
    stamps = [table.stamps[row] for row in rows.tolist()]
    pictures: Packed | Decoded
    if len(rows) * 3 * side**2 / 1e9 > asked.cache_gb:
        pictures = Decoded(decoder, find_unreadable(decoder))
    else:
        pictures = pack(decoder, stamps, title="packing replay")
    good = [i for i in range(len(rows)) if i not in pictures.unreadable]
    if not good:
        raise DataError(
            f"{asked.replay}: no picture to replay can be read",
            "domainclip data inspect says why; where it names splits, those of train are taken",
        )
    kept = rows[good].tolist()
    captions = [tuple(table.captions[row]) for row in kept]
    numbers = {said: i for i, said in enumerate(dict.fromkeys(said[0] for said in captions))}
    said = f"{len(kept):,} pictures of {asked.replay} are replayed"
    if broken := len(table.left_out) + len(rows) - len(kept):
        said += f"; {broken:,} cannot be read or have no caption, and are left out"
    return Replay(
        PictureSet(
            "replay",
            pictures,
            np.array(good, dtype=np.int64),
            np.array([-1 - numbers[said[0]] for said in captions], dtype=np.int64),
            tuple(table.ids[row] for row in kept),
            captions,
            ("",) * len(kept),
        ),
        fingerprint(stamps, captions, side),
        [said],
        dict(sorted(Counter(table.licence[row] for row in kept).items())),
    )


@dataclass(frozen=True)
class Both:
    """Pictures of two sources, those of the second numbered after those of the first."""

    first: Pictures
    second: Pictures

    @property
    def side(self) -> int:
        """Side in pixels."""
        return self.first.side

    @property
    def unreadable(self) -> dict[int, str]:
        """The reason, by number, for each picture that could not be read."""
        more = {len(self.first) + row: why for row, why in self.second.unreadable.items()}
        return {**self.first.unreadable, **more}

    def __len__(self) -> int:
        """Return how many there are, unreadable ones included."""
        return len(self.first) + len(self.second)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pictures of the given numbers, shape (len(rows), side, side, 3)."""
        asked = np.asarray(rows, dtype=np.int64)
        late = asked >= len(self.first)
        pixels = np.empty((len(asked), self.side, self.side, 3), np.uint8)
        pixels[~late] = self.first.read(asked[~late])
        pixels[late] = self.second.read(asked[late] - len(self.first))
        return pixels


def hold_out(again: PictureSet, seed: int) -> tuple[PictureSet, PictureSet]:
    """Return the replayed pictures in two parts: to train on, and a tenth to see what is forgotten.

    Raises:
        UsageError: If there are too few.
    """
    n = len(again)
    held = min(_MOST_HELD, max(_FEWEST_HELD, n // 10))
    if n < 2 * held:
        raise UsageError(
            f"train.wise_ft holds {held} replayed pictures out, and data.replay has {n}",
            "replay more pictures, or leave out train.wise_ft",
        )
    order = np.random.default_rng([seed, 5]).permutation(n)
    return _part(again, np.sort(order[held:])), _part(again, np.sort(order[:held]))


def _part(pictures: PictureSet, rows: NDArray[np.int64]) -> PictureSet:
    return replace(
        pictures,
        rows=pictures.rows[rows],
        nodes=pictures.nodes[rows],
        ids=tuple(pictures.ids[row] for row in rows),
        captions=[pictures.captions[row] for row in rows],
        groups=tuple(pictures.groups[row] for row in rows),
    )


def append_replay(train: PictureSet, again: PictureSet) -> PictureSet:
    """Return the training pictures with the replayed ones after them, of weight 1."""
    weights = train.weights
    if weights is not None:
        weights = np.concatenate([weights, np.ones(len(again), np.float32)])
    return replace(
        train,
        pictures=Both(train.pictures, again.pictures),
        rows=np.concatenate([train.rows, len(train.pictures) + again.rows]),
        nodes=np.concatenate([train.nodes, again.nodes]),
        ids=train.ids + again.ids,
        captions=train.captions + again.captions,
        groups=train.groups + again.groups,
        weights=weights,
    )
