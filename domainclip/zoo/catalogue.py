"""Which models there are: the cards of every domain, general ones, and the user's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from domainclip import paths
from domainclip.domains.registry import find_domains
from domainclip.errors import DataError, UsageError, suggest

from .card import Card, read_card_file

GENERAL = Path(__file__).parent / "cards"
"""Cards of models that belong to no domain."""
GENERAL_DOMAIN = "general"
"""What stands for a domain in their names."""


@dataclass(frozen=True)
class Entry:
    """A card file, read only when asked."""

    name: str
    """`domain/model`, of the folder and the file."""
    path: Path

    @property
    def domain(self) -> str:
        """The field, or `general`."""
        return self.name.partition("/")[0]

    @property
    def short(self) -> str:
        """The name without the domain."""
        return self.name.partition("/")[2]

    def read(self) -> Card:
        """Return the card.

        Raises:
            DataError: If it is wrong, or its name is not that of its file.
        """
        card = read_card_file(self.path)
        if card.name != self.name:
            raise DataError(
                f"{self.path}: its name is {card.name!r}, but its place says {self.name!r}"
            )
        return card


def own_cards() -> Path:
    """Return the folder of the user's own cards, `domain/model.yaml` below it; not created here."""
    return paths.home_dir() / "cards"


def find_cards(domain: str = "") -> dict[str, Entry]:
    """Return all cards by name without reading any; the user's own win over those that ship.

    Args:
        domain: Only those of one field; "" for all.
    """
    found = {entry.name: entry for entry in _shipped()}
    found |= {entry.name: entry for entry in _below(own_cards())}
    return {
        name: found[name] for name in sorted(found) if not domain or name.startswith(f"{domain}/")
    }


def get_card(name: str, domain: str = "") -> Card:
    """Return a card by `domain/model`, or by `model` alone where that says which is meant.

    Args:
        name: The name, long or short.
        domain: The field to look in first for a short name.

    Raises:
        UsageError: If there is no such model, or several fields have one of that short name.
        DataError: If its card is wrong.
    """
    return find_entry(name, domain).read()


def find_entry(name: str, domain: str = "") -> Entry:
    """Return the card file that a long or short name means, as `get_card` does, unread.

    Raises:
        UsageError: If there is no such model, or several fields have one of that short name.
    """
    found = find_cards()
    for whole in (name, f"{domain}/{name}"):
        if whole in found:
            return found[whole]
    same = [entry for entry in found.values() if entry.short == name]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(
            f"{name!r} is one of {', '.join(entry.name for entry in same)}", "give the whole name"
        )
    known = [*found, *(entry.short for entry in found.values())]
    raise UsageError(
        f"no model {name!r} in the zoo", suggest(name, known) or "domainclip zoo list shows all"
    )


def refuse_blocked(card: Card) -> None:
    """Refuse a model that is known, but cannot be used here.

    Raises:
        UsageError: With the reason that its card gives.
    """
    if card.blocked:
        raise UsageError(
            f"{card.name} cannot be loaded by domainclip: {card.blocked}",
            f"domainclip zoo show {card.name} says more",
        )


def _shipped() -> Iterator[Entry]:
    yield from _cards_in(GENERAL, GENERAL_DOMAIN)
    for name, plug in find_domains().items():
        for place in _places(plug.target.partition(":")[0]):
            yield from _cards_in(Path(place) / "zoo", name)


def _places(module: str) -> Iterable[str]:
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # a broken plug must not hide the cards of the others
        return ()
    return (spec.submodule_search_locations if spec else None) or ()


def _below(folder: Path) -> Iterator[Entry]:
    if folder.is_dir():
        for place in sorted(p for p in folder.iterdir() if p.is_dir()):
            yield from _cards_in(place, place.name)


def _cards_in(folder: Path, domain: str) -> Iterator[Entry]:
    for path in sorted(folder.glob("*.yaml")):
        yield Entry(f"{domain}/{path.stem}", path)
