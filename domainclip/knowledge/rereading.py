"""Has a language model find the traits in stored texts, label by label, and keeps what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from domainclip.domains.contract import LabelKey

from .lexicon import Lexicon
from .llm_traits import Asker, extract_with_model
from .records import READERS, Record
from .store import KnowledgeStore


@dataclass
class Reread:
    """What came of it, in records."""

    by_model: int = 0
    by_words: int = 0
    """Records whose answer could not be used; the words of the field found their traits."""
    skipped: int = 0
    """Labels that this model had read before."""
    reason: str = ""
    """Why the last answer could not be used."""


def reread(
    labels: Iterable[LabelKey],
    store: KnowledgeStore,
    asker: Asker,
    lexicon: Lexicon,
    *,
    model: str,
    again: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Reread:
    """Ask a model for the traits of each label's stored texts; can be stopped and taken up.

    A label's traits are replaced when all of its records are read. A label that the model has read
    since its texts were stored is left alone, and so are traits that came with a record.

    Args:
        labels: Labels, with stored texts or without.
        store: Where texts are read and traits are kept.
        asker: The endpoints.
        lexicon: The words of the field.
        model: The model's name.
        again: Read texts that this model has read before too.
        progress: Called with the number of labels done since the last call.

    Raises:
        DomainclipError: If no endpoint answers any more; what was read is kept.
    """
    reader = READERS + model
    told = Reread()
    waiting: dict[LabelKey, tuple[tuple[Record, ...], dict[Record, Record]]] = {}

    def records() -> Iterator[Record]:
        for label in labels:
            own = store.own(label)
            texts = dict.fromkeys(_bare(record) for record in own if not _is_told(record))
            if texts and not again and _is_read(store, label, reader):
                told.skipped += 1
                texts = {}
            if texts:
                waiting[label] = own, {_bare(r): r for r in own if _is_told(r)}
                yield from texts
            elif progress is not None:
                progress(1)

    for found in extract_with_model(records(), asker, lexicon):
        told.by_model += found.by_model
        told.by_words += not found.by_model
        told.reason = found.reason if not found.by_model else told.reason
        own, read = waiting[found.record.label]
        read[_bare(found.record)] = found.record
        if all(_bare(record) in read for record in own):
            del waiting[found.record.label]
            store.put_traits(found.record.label, [read[_bare(r)] for r in own], reader)
            if progress is not None:
                progress(1)
    return told


def _is_read(store: KnowledgeStore, label: LabelKey, reader: str) -> bool:
    asked = store.asked(label)
    read = next((a.time for a in asked if a.provider == reader), "")
    texts = [a.time for a in asked if not a.provider.startswith(READERS)]
    return bool(read) and read >= max(texts, default="")


def _is_told(record: Record) -> bool:
    """Return whether a record came with traits of its own, which nothing has to find."""
    return any(trait.source != record.source for trait in record.traits)


def _bare(record: Record) -> Record:
    return replace(record, traits=())
