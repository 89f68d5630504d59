"""What a model has to be: the commit and checksums of its card, else those of the first pull."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from domainclip.errors import DataError

from .card import Card, Source
from .store import Place, read_json, write_json

PARTS = ("source", "text_source", "label_vectors")
"""Keys of a card that name a repository."""


@dataclass(frozen=True)
class Found:
    """What was fetched of a repository."""

    repo: str
    repo_type: str
    revision: str
    """The commit; "" for files of the user's that no checksum is known of."""
    sha256: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a record keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class Expected:
    """What a repository has to be."""

    source: Source
    revision: str
    """The commit; "" for the newest, which is then pinned."""
    known: Mapping[str, Mapping[str, str]]
    """Who says so -> file -> SHA-256."""
    way_on: str

    def check(self, file: str, digest: str) -> None:
        """Compare the checksum of a file with what is known of it.

        Raises:
            DataError: If it is another one; both are named.
        """
        for who, told in self.known.items():
            if told.get(file, digest) != digest:
                raise DataError(
                    f"{file} of {self.source.repo} has the checksum {digest}, but {who} says "
                    f"{told[file]}",
                    self.way_on,
                )

    def knows(self, files: Mapping[str, str]) -> bool:
        """Return whether there is a checksum for each of these."""
        return all(any(file in told for told in self.known.values()) for file in files)


def source_of(card: Card, part: str) -> Source | None:
    """Return the repository that a key of the card names."""
    if part == "label_vectors":
        return card.label_vectors.source if card.label_vectors else None
    found: Source | None = getattr(card, part)
    return found


def expect(card: Card, part: str, place: Place) -> Expected:
    """Return what a repository of a card has to be.

    Raises:
        DataError: If the first pull was of another one, and the card names no commit.
    """
    source = source_of(card, part)
    assert source is not None
    pin = read_json(place.pins).get(part) or {}
    other = f"the first pull ({place.pins})"
    way_on = f"ask its publishers why; where that is in order, remove {place.pins} and pull again"
    if pin and not source.revision and pin.get("repo") != source.repo:
        raise DataError(f"its card names {source.repo}, but {other} was of {pin['repo']}", way_on)
    same = not source.revision or pin.get("revision") in ("", source.revision)
    known = {"its card": source.sha256} | ({other: pin.get("sha256", {})} if pin and same else {})
    return Expected(source, source.revision or str(pin.get("revision", "")), known, way_on)


def remember(place: Place, found: Mapping[str, Found]) -> None:
    """Keep what was fetched, so that every later pull is the same."""
    pins = read_json(place.pins)
    for part, one in found.items():
        old = pins.get(part) or {}
        kept = old.get("sha256", {}) if old.get("revision") in ("", one.revision) else {}
        revision = one.revision or old.get("revision", "")
        pins[part] = {
            **one.as_dict(), "revision": revision, "sha256": {**kept, **one.sha256}
        }  # fmt: skip
    write_json(place.pins, pins)
