"""What a search found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from domainclip.data.images import Reader
from domainclip.inference.origin import NAME
from domainclip.inference.pictures import BOX, Crop, Picture


@dataclass(frozen=True)
class Match:
    """One picture, or a box cut out of one, that was found."""

    rank: int
    """Place among what was found, from 1."""
    picture: str | Crop
    score: float
    """Cosine to the query."""
    metadata: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        """The picture's file."""
        return str(self.picture)

    def row(self, boxed: bool = True) -> dict[str, Any]:
        """Return it as a row of a table.

        Args:
            boxed: Have columns for a box, whether it is one or not.
        """
        box = {side: getattr(self.picture, side, None) for side in BOX} if boxed else {}
        told = {"rank": self.rank, NAME: self.file_name, **box, "score": self.score}
        return {**told, **self.metadata}

    @classmethod
    def read(cls, rank: int, row: Mapping[str, Any]) -> Match:
        """Return the match that a row of an index tells."""
        box = [row[side] for side in BOX]
        picture = row[NAME] if box[0] is None else Crop(row[NAME], *box)
        own = (NAME, *BOX, "_distance")
        known = {key: value for key, value in row.items() if key not in own}
        return cls(rank, picture, min(1.0, max(-1.0, 1 - row["_distance"])), known)


@dataclass(frozen=True)
class Matches(Sequence[Match]):
    """What was found, best first; a contact sheet in notebooks.

    Attributes:
        found: The matches.
        asked: The query in words.
        how: How it was answered, such as "exact search of 312 of 10,000 pictures".
        query: The picture that was asked with.
        reader: Opens pictures that Pillow cannot.
    """

    found: tuple[Match, ...]
    asked: str = ""
    how: str = ""
    query: Picture | None = field(default=None, repr=False)
    reader: Reader | None = field(default=None, repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """Return rows of one set of keys: rank, file_name, x, y, w, h if any has a box, score..."""
        boxed = any(isinstance(match.picture, Crop) for match in self.found)
        return [match.row(boxed) for match in self.found]

    def __iter__(self) -> Iterator[Match]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @overload
    def __getitem__(self, place: int) -> Match: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Match]: ...
    def __getitem__(self, place: int | slice) -> Match | Sequence[Match]:
        return self.found[place]

    def _repr_html_(self) -> str:
        from .sheet import show_grid

        return show_grid(self)
