"""The store of what is known of labels: one SQLite file that many may read while one writes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

from domainclip.domains.contract import LabelKey
from domainclip.domains.names import fold
from domainclip.errors import DataError, UsageError

from .records import Answer, Record, Trait

APPLICATION = 0x444B4E57
"""Marks our files, so that no other program's database is taken for a store."""
VERSION = 1
WAIT = 30.0
"""Seconds that a writer waits for another one."""
ENDINGS = (".sqlite", ".sqlite3", ".db")
"""A damaged file is set aside only under such a name; any other may be a slip of the hand."""
SCHEMA = """
CREATE TABLE labels (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, leaf TEXT NOT NULL);
CREATE INDEX labels_by_leaf ON labels (leaf);
CREATE TABLE answers (
    provider TEXT NOT NULL, label INTEGER NOT NULL REFERENCES labels, status TEXT NOT NULL,
    reason TEXT NOT NULL, time TEXT NOT NULL, PRIMARY KEY (provider, label)
) WITHOUT ROWID;
CREATE TABLE records (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, label INTEGER NOT NULL REFERENCES labels,
    position INTEGER NOT NULL, subject TEXT NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL,
    title TEXT NOT NULL, section TEXT NOT NULL, url TEXT NOT NULL, revision TEXT NOT NULL,
    licence TEXT NOT NULL, fetched TEXT NOT NULL
);
CREATE INDEX records_by_label ON records (label, provider, position);
CREATE TABLE traits (
    record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE, position INTEGER NOT NULL,
    text TEXT NOT NULL, sentence TEXT NOT NULL, source TEXT NOT NULL, revision TEXT NOT NULL,
    PRIMARY KEY (record, position)
) WITHOUT ROWID;
"""


class Asked(NamedTuple):
    """What a provider said of a label, and when."""

    provider: str
    status: str
    reason: str
    time: str
    """UTC time in ISO 8601."""


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
        self.path = Path(path).expanduser()
        self.readonly = readonly
        self.messages: list[str] = []
        self._lock = threading.RLock()
        self._stamp: tuple[int, int] | None = None
        try:
            self._db = self._open()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise DataError(f"{self.path} cannot be opened: {error}", _way_on(error)) from error
            self.messages.append(self._set_aside(error))
            self._db = self._open()
        except OSError as error:
            raise DataError(f"{self.path} cannot be opened: {error.strerror}") from error

    def put(self, provider: str, label: LabelKey, answer: Answer) -> None:
        """Keep what a provider says of a label, in place of what it said before; all or nothing."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._work() as db, _transaction(db):
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

    def status(self, provider: str, label: LabelKey) -> str | None:
        """Return "found", "missing" or "refused"; None for a label that was not asked about."""
        return next((a.status for a in self.asked(label) if a.provider == provider), None)

    def asked(self, label: LabelKey) -> tuple[Asked, ...]:
        """Return what each provider said of a label."""
        with self._work() as db:
            rows = db.execute(
                "SELECT provider, status, reason, time FROM answers "
                "WHERE label = (SELECT id FROM labels WHERE key = ?) ORDER BY provider",
                (_key(label),),
            ).fetchall()
        return tuple(Asked(*row) for row in rows)

    def own(self, label: LabelKey) -> tuple[Record, ...]:
        """Return the records of a label, by provider; none of its ancestors'."""
        with self._work() as db:
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
        with self._work() as db:
            rows = db.execute(
                "SELECT key FROM labels WHERE id IN (SELECT label FROM answers "
                "WHERE (?1 IS NULL OR provider = ?1) AND (?2 IS NULL OR status = ?2)) ORDER BY id",
                (provider, status),
            ).fetchall()
        return [tuple(json.loads(key)) for (key,) in rows]

    def named(self, name: str) -> list[LabelKey]:
        """Return the labels that were asked about of this name; case and "_" do not count."""
        with self._work() as db:
            rows = db.execute(
                "SELECT key FROM labels WHERE leaf = ? ORDER BY id", (fold(name),)
            ).fetchall()
        return [tuple(json.loads(key)) for (key,) in rows]

    def close(self) -> None:
        """Close the file; a closed store cannot be used."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> KnowledgeStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        if not self.readonly:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        elif not self.path.exists():
            return _make(_connect(":memory:"))
        place = f"file:{quote(str(self.path.absolute()))}"
        self._stamp = _stamp(self.path)
        if not _has_header(self.path):  # before SQLite finds out and drops the log beside it
            raise sqlite3.DatabaseError("file is not a database")
        db = _connect(f"{place}?mode={'ro' if self.readonly else 'rwc'}")
        self._stamp = _stamp(self.path)
        try:
            try:
                version = self._version(db)
            except sqlite3.OperationalError as error:
                if not self.readonly or _is_damage(error):
                    raise
                db.close()  # a folder that cannot be written has no room for the log's index
                db = _connect(f"{place}?immutable=1")
                version = self._version(db)
            if version == 0 and self.readonly:
                db.close()
                return _make(_connect(":memory:"))
            if not self.readonly:
                if version:
                    (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
                    if state != "ok":
                        raise sqlite3.DatabaseError(f"malformed: {state}")
                else:
                    _make(db)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _version(self, db: sqlite3.Connection) -> int:
        """Return the version of the schema, 0 for an empty file; refuse what is not ours."""
        with _transaction(db, "BEGIN"):  # all three of one moment
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (mark,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if not tables:
            return 0
        if mark != APPLICATION:
            raise UsageError(f"{self.path} is another program's database", "name another file")
        if version > VERSION:
            raise UsageError(
                f"{self.path} is of version {version}; this domainclip reads up to {VERSION}",
                "use the domainclip that wrote it, or name another file",
            )
        return int(version)

    def _set_aside(self, error: sqlite3.Error) -> str:
        """Rename a damaged file and return the line that says so."""
        if self.path.suffix.lower() not in ENDINGS:
            raise UsageError(
                f"{self.path} is no store of knowledge ({error})",
                f"a store's name ends in {' or '.join(ENDINGS)}",
            ) from error
        if self._stamp != _stamp(self.path):
            return f"{self.path} was damaged ({error}); another process has set it aside"
        number, bad = 1, Path(f"{self.path}.bad")
        while bad.exists():
            number += 1
            bad = Path(f"{self.path}.{number}.bad")
        self.path.rename(bad)
        # the log belongs to the damaged file and would be played into a new one
        for log in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{log}").rename(f"{bad}{log}")
        return f"{self.path} is damaged ({error}); it is set aside as {bad}, an empty one is used"

    @contextlib.contextmanager
    def _work(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, to one thread at a time; errors become lines for people."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                if _is_damage(error):
                    self._db.close()
                    raise DataError(
                        self._set_aside(error), "run it again; what is known is asked for again"
                    ) from error
                raise DataError(f"{self.path}: {error}", _way_on(error)) from error


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one that takes its name; None for no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _has_header(path: Path) -> bool:
    """Return whether a file begins as a database does; an absent or empty one will."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")


def _connect(place: str) -> sqlite3.Connection:
    return sqlite3.connect(
        place,
        timeout=WAIT,
        isolation_level=None,
        check_same_thread=False,
        uri=place.startswith("file:"),
    )


def _make(db: sqlite3.Connection) -> sqlite3.Connection:
    with _transaction(db):
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:  # another process may have been first
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
    return db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    db.execute(begin)
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


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
    db.executemany(
        "INSERT INTO traits VALUES (?, ?, ?, ?, ?, ?)",
        [
            (number, i, trait.text, trait.sentence, trait.source, trait.revision)
            for i, trait in enumerate(record.traits)
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


def _is_damage(error: sqlite3.Error) -> bool:
    """Return whether a file is broken, rather than locked, full or forbidden."""
    told = getattr(error, "sqlite_errorname", None) or ""
    said = any(words in str(error) for words in ("malformed", "not a database"))
    return said or told.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _way_on(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "another process writes to it; wait for it to end"
    if "full" in text:
        return "free space on the disk"
    return "check the file's folder and your rights to it"
