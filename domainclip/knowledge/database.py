"""The SQLite file of a store: opened for reading or writing, and set aside where it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from domainclip.errors import DataError, UsageError

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


class Database:
    """One SQLite file with the tables of a store, used by one thread at a time.

    A damaged file is renamed to end in `.bad`, and an empty one takes its place; `messages` says
    so.

    Args:
        path: The file; its folder is made.
        readonly: Only read; a file that does not exist is an empty one then.

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

    @contextlib.contextmanager
    def work(self) -> Iterator[sqlite3.Connection]:
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

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

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
        with transaction(db, "BEGIN"):  # all three of one moment
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
    with transaction(db):
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:  # another process may have been first
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Commit what is done inside, or undo it where an error comes."""
    db.execute(begin)
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


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
