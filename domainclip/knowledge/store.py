"""The store of what is known of labels: one SQLite file that many may read while one writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from domainclip.domains.contract import LabelKey
from domainclip.domains.names import fold

from .database import Database, transaction
from .records import READERS, Answer, Record, Trait


class Asked(NamedTuple):
    """What a provider said of a label, and when."""

    provider: str
    status: str
    reason: str
    time: str
    """UTC time in ISO 8601."""


class Told(NamedTuple):
    """How many labels a provider answered about, by status, and when last."""

    provider: str
    found: int
    missing: int
    refused: int
    time: str
    """UTC time of the newest answer in ISO 8601."""


class KnowledgeStore:
    """Answers of providers by label; a label is told by its lineage.

    A damaged file is renamed to end in `.bad`, and an empty one takes its place; `messages` says
    so.

    Args:
        path: The file; its folder is made.
        readonly: Only read; a file that does not exist is an empty store then.

    Attributes:
        messages: What a person should know, one line each.

    Raises:
        UsageError: If the file is no store, or one of a later version.
        DataError: If it cannot be opened.
    """

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        self._file = Database(path, readonly=readonly)
        self.path, self.messages = self._file.path, self._file.messages

    def put(self, provider: str, label: LabelKey, answer: Answer) -> None:
        """Keep what a provider says of a label, in place of what it said before; all or nothing."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._file.work() as db, transaction(db):
            db.execute(
                "INSERT OR IGNORE INTO labels (key, leaf) VALUES (?, ?)",
                (_key(label), fold(label[-1])),
            )
            (number,) = db.execute("SELECT id FROM labels WHERE key = ?", (_key(label),)).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (provider, number, answer.status, answer.reason, now),
            )
            db.execute("DELETE FROM records WHERE label = ? AND provider = ?", (number, provider))
            for position, record in enumerate(answer.records):
                _insert(db, provider, number, position, record, now)

    def put_traits(self, label: LabelKey, records: Sequence[Record], reader: str) -> bool:
        """Give a label's records other traits; all or none.

        Args:
            label: The label.
            records: All of its records, as `own` returns them, with their new traits.
            reader: Who found them; kept as a provider that was asked about the label.

        Returns:
            Whether it was done; not so where the records have changed since.
        """
        bare = [replace(record, traits=()) for record in records]
        with self._file.work() as db, transaction(db):
            if bare != [replace(record, traits=()) for record in self.own(label)]:
                return False
            (label_id,) = db.execute(
                "SELECT id FROM labels WHERE key = ?", (_key(label),)
            ).fetchone()
            rows = db.execute(
                "SELECT id FROM records WHERE label = ? ORDER BY provider, position", (label_id,)
            ).fetchall()
            for (number,), record in zip(rows, records, strict=True):
                db.execute("DELETE FROM traits WHERE record = ?", (number,))
                _insert_traits(db, number, record.traits)
            db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, 'found', '', ?)",
                (reader, label_id, datetime.now(UTC).isoformat(timespec="seconds")),
            )
        return True

    def forget(self, provider: str) -> int:
        """Drop all that a provider said, and return the number of labels that it was about.

        Traits that a model found in its texts go with them.
        """
        with self._file.work() as db, transaction(db):
            theirs = "(SELECT label FROM answers WHERE provider = ?)"
            bare = "label NOT IN (SELECT label FROM records)"
            db.execute("DELETE FROM records WHERE provider = ?", (provider,))
            db.execute(  # nothing is left that a model has read
                f"DELETE FROM answers WHERE substr(provider, 1, {len(READERS)}) = ? AND {bare} "
                f"AND label IN {theirs}",
                (READERS, provider),
            )
            gone = db.execute("DELETE FROM answers WHERE provider = ?", (provider,)).rowcount
            db.execute("DELETE FROM labels WHERE id NOT IN (SELECT label FROM answers)")
        return gone

    def sources(self) -> tuple[Told, ...]:
        """Return the providers of texts that were asked, by name; no model that only read them."""
        with self._file.work() as db:
            rows = db.execute(
                "SELECT provider, sum(status = 'found'), sum(status = 'missing'), "
                "sum(status = 'refused'), max(time) FROM answers GROUP BY provider "
                "ORDER BY provider"
            ).fetchall()
        return tuple(Told(*row) for row in rows if not row[0].startswith(READERS))

    def status(self, provider: str, label: LabelKey) -> str | None:
        """Return "found", "missing" or "refused"; None for a label that was not asked about."""
        return next((a.status for a in self.asked(label) if a.provider == provider), None)

    def asked(self, label: LabelKey) -> tuple[Asked, ...]:
        """Return what each provider said of a label."""
        with self._file.work() as db:
            rows = db.execute(
                "SELECT provider, status, reason, time FROM answers "
                "WHERE label = (SELECT id FROM labels WHERE key = ?) ORDER BY provider",
                (_key(label),),
            ).fetchall()
        return tuple(Asked(*row) for row in rows)

    def own(self, label: LabelKey) -> tuple[Record, ...]:
        """Return the records of a label, by provider; none of its ancestors'."""
        with self._file.work() as db:
            rows = db.execute(
                "SELECT id, subject, source, text, title, section, url, revision, licence, fetched "
                "FROM records WHERE label = (SELECT id FROM labels WHERE key = ?) "
                "ORDER BY provider, position",
                (_key(label),),
            ).fetchall()
            traits = {row[0]: _traits(db, row[0]) for row in rows}
        return tuple(
            Record(
                label=label,
                subject=tuple(json.loads(subject)),
                source=source,
                text=text,
                title=title,
                section=section,
                url=url,
                revision=revision,
                licence=licence,
                fetched=fetched,
                traits=traits[number],
            )
            for number, subject, source, text, title, section, url, revision, licence, fetched
            in rows
        )  # fmt: skip

    def labels(self, provider: str | None = None, status: str | None = None) -> list[LabelKey]:
        """Return the labels that were asked about, in the order in which they first came.

        Args:
            provider: Only those that this one was asked about; None for any.
            status: Only those of this status.
        """
        with self._file.work() as db:
            rows = db.execute(
                "SELECT key FROM labels WHERE id IN (SELECT label FROM answers "
                "WHERE (?1 IS NULL OR provider = ?1) AND (?2 IS NULL OR status = ?2)) ORDER BY id",
                (provider, status),
            ).fetchall()
        return [tuple(json.loads(key)) for (key,) in rows]

    def named(self, name: str) -> list[LabelKey]:
        """Return the labels that were asked about of this name; case and "_" do not count."""
        with self._file.work() as db:
            rows = db.execute(
                "SELECT key FROM labels WHERE leaf = ? ORDER BY id", (fold(name),)
            ).fetchall()
        return [tuple(json.loads(key)) for (key,) in rows]

    def close(self) -> None:
        """Close the file; a closed store cannot be used."""
        self._file.close()

    def __enter__(self) -> KnowledgeStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _insert(
    db: sqlite3.Connection, provider: str, label: int, position: int, record: Record, now: str
) -> None:
    row = (
        provider,
        label,
        position,
        _key(record.subject),
        record.source,
        record.text,
        record.title,
        record.section,
        record.url,
        record.revision,
        record.licence,
        record.fetched or now,
    )
    marks = ", ".join("?" * len(row))
    number = db.execute(f"INSERT INTO records VALUES (NULL, {marks})", row).lastrowid
    assert number is not None
    _insert_traits(db, number, record.traits)


def _insert_traits(db: sqlite3.Connection, number: int, traits: Sequence[Trait]) -> None:
    db.executemany(
        "INSERT INTO traits VALUES (?, ?, ?, ?, ?, ?)",
        [
            (number, i, trait.text, trait.sentence, trait.source, trait.revision)
            for i, trait in enumerate(traits)
        ],
    )


def _traits(db: sqlite3.Connection, record: int) -> tuple[Trait, ...]:
    rows = db.execute(
        "SELECT text, sentence, source, revision FROM traits WHERE record = ? ORDER BY position",
        (record,),
    )
    return tuple(
        Trait(text=text, sentence=sentence, source=source, revision=revision)
        for text, sentence, source, revision in rows
    )


def _key(label: Sequence[str]) -> str:
    """Return a lineage as text, without missing ranks at its end."""
    names = list(label)
    while names and not names[-1]:
        names.pop()
    return json.dumps(names, ensure_ascii=False)
