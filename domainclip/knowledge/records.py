"""What is known of a label: records of text with their source, and the visible traits in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from domainclip.domains.contract import LabelKey
from domainclip.domains.labels import LabelTree

SHEET = "sheet"
"""Source of what a domain's shipped trait sheet says."""
TABLE = "table:"
"""Begins the name of a provider that is a file; its path follows."""
READERS = "traits:"
"""Begins the name under which the store notes which model has read a label's texts."""


@dataclass(frozen=True, kw_only=True)
class Trait:
    """One visible statement about a label, such as "a white-spotted black margin"."""

    text: str
    sentence: str
    """The sentence of the source that says it."""
    source: str
    """The record's source: "wikipedia", "wiki:" and a host, "sheet", a file name."""
    revision: str = ""
    """The record's revision."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One text about one label, with where it came from."""

    label: LabelKey
    """The label that was asked for."""
    subject: LabelKey
    """The label that the text is about: `label`, or the nearest ancestor that has a text."""
    source: str
    """Provider: "wikipedia", "wiki:" and a host, "table", "column", "tags", "sheet"."""
    text: str
    title: str = ""
    """Title of the page, name of the file or column."""
    section: str = ""
    url: str = ""
    revision: str = ""
    """Revision id of the page, or a digest of the text where the source has no revisions."""
    licence: str = ""
    fetched: str = ""
    """UTC time in ISO 8601."""
    traits: tuple[Trait, ...] = field(default=())

    @property
    def inherited(self) -> bool:
        """Whether the text is about an ancestor rather than the label itself."""
        return self.subject != self.label


@dataclass(frozen=True)
class Answer:
    """What a provider says of one label."""

    status: Literal["found", "missing", "refused"]
    """`refused`: pages of that name exist, and none is about this label."""
    records: tuple[Record, ...] = ()
    reason: str = ""
    """How it was matched, or why not: one line for people."""


class Provider(Protocol):
    """A source of facts: label node in, records out."""

    name: str

    async def ask(self, tree: LabelTree, node: int) -> Answer:
        """Return what is known of a label; raises `DomainclipError` if the source fails."""
        ...


def shown_name(provider: str) -> str:
    """Return the name of a provider as people read it: of a file its name, without its folders."""
    if not provider.startswith(TABLE):
        return provider
    return TABLE + provider.removeprefix(TABLE).rpartition("/")[2]
