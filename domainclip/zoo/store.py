"""Where pulled models lie, what is recorded of them, and that nobody else touches them meanwhile.

zoo/<domain>/<model>/              a model folder, and zoo.json, its record
zoo/<domain>/.<model>.download/    files of the hub, until the model folder is made of them
zoo/<domain>/.<model>.new/         a model folder that is being made
zoo/<domain>/.<model>.lock
pins/<domain>/<model>.json         commit and checksums of the first pull; stays after `zoo rm`
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domainclip import paths
from domainclip.errors import DataError, UsageError, suggest

from .hub import digest_file

RECORD, CARD, CONFIG = "zoo.json", "domainclip.json", "open_clip_config.json"
FORMAT = 1


@dataclass(frozen=True)
class Place:
    """The paths of one model."""

    name: str
    """`domain/model`."""

    def __post_init__(self) -> None:
        """Refuse a name that could lie elsewhere.

        Raises:
            UsageError: If it is none of a model.
        """
        if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9][a-z0-9._-]*", self.name):
            raise UsageError(f"{self.name!r} is no name of a model", "names are `domain/model`")

    @property
    def folder(self) -> Path:
        """The model folder; there only when it is whole."""
        return zoo_dir() / self.name

    @property
    def downloads(self) -> Path:
        """Files of the hub, whole ones and begun ones."""
        return self._beside("download")

    @property
    def new(self) -> Path:
        """The model folder that is being made."""
        return self._beside("new")

    @property
    def old(self) -> Path:
        """A model folder on its way out."""
        return self._beside("old")

    @property
    def lock(self) -> Path:
        """The file that is locked while the model changes."""
        return self._beside("lock")

    @property
    def pins(self) -> Path:
        """What the first pull found."""
        return paths.home_dir() / "pins" / f"{self.name}.json"

    def _beside(self, kind: str) -> Path:
        return self.folder.with_name(f".{self.folder.name}.{kind}")

    def record(self) -> dict[str, Any]:
        """Return the record of the model; {} where it is not there.

        Raises:
            DataError: If it cannot be read.
        """
        return read_json(self.folder / RECORD)

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """Let no other process change the model; wait for one that does.

        Raises:
            DataError: If the folder cannot be written to.
        """
        from filelock import FileLock, Timeout

        try:
            self.lock.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"another process is busy with {self.name}; waiting for it")
                lock.acquire()
        except OSError as error:
            raise DataError(
                f"{self.lock.parent} cannot be written to: {error.strerror or error}",
                "set DOMAINCLIP_HOME to a folder that can",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def put(self) -> None:
        """Put the folder that was made in its place, all at once."""
        shutil.rmtree(self.old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(self.old)
        self.new.rename(self.folder)
        shutil.rmtree(self.old, ignore_errors=True)
        shutil.rmtree(self.downloads, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a process that was killed left behind, but not what it had fetched."""
        if self.old.exists() and not self.folder.exists():
            self.old.rename(self.folder)
        for left in (self.new, self.old):
            shutil.rmtree(left, ignore_errors=True)


def zoo_dir() -> Path:
    """Return the folder of all pulled models; not created here."""
    return paths.home_dir() / "zoo"


def find_pulled() -> dict[str, Path]:
    """Return the folders of the models that are there, by name."""
    found = {}
    for record in zoo_dir().glob(f"*/*/{RECORD}"):
        folder = record.parent
        if not folder.name.startswith("."):
            found[f"{folder.parent.name}/{folder.name}"] = folder
    return dict(sorted(found.items()))


def get_pulled(name: str, *, begun: bool = False) -> Place:
    """Return the place of a model that is there, by `domain/model` or `model` alone.

    Args:
        name: The name, long or short.
        begun: Take one that was only begun for there.

    Raises:
        UsageError: If it is not there, or several are of that short name.
    """
    found = {*find_pulled()}
    if begun:
        parts = zoo_dir().glob("*/.*.download")
        found |= {f"{p.parent.name}/{p.name[1:].removesuffix('.download')}" for p in parts}
    same = [one for one in sorted(found) if name in (one, one.partition("/")[2])]
    if len(same) > 1:
        raise UsageError(f"{name!r} is one of {', '.join(same)}", "give the whole name")
    if not same:
        known = [*found, *(one.partition("/")[2] for one in found)]
        here = f"here are {', '.join(sorted(found))}" if found else "no model has been pulled yet"
        raise UsageError(f"no model {name!r} in {zoo_dir()}", suggest(name, known) or here)
    return Place(same[0])


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; those of hidden ones count too."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return length and SHA-256 of the files of a model folder, without its record."""
    return {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": digest_file(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != RECORD
    }


def verify(name: str, say: Callable[[str], None] = lambda text: None) -> list[str]:
    """Compare the files of a model with the checksums of its record.

    Args:
        name: The model.
        say: Told if another process has to be waited for.

    Returns:
        What is wrong, a line each; files that came later, such as a calibration, are not looked at.

    Raises:
        UsageError: If it is not there.
        DataError: If its record cannot be read.
    """
    place, wrong = get_pulled(name), []
    with place.locked(say):
        for file, told in place.record().get("files", {}).items():
            path = place.folder / file
            if not path.is_file():
                wrong.append(f"{file} is missing")
            elif path.stat().st_size != told["bytes"]:
                size = path.stat().st_size
                wrong.append(f"{file} has {size:,} bytes, and had {told['bytes']:,}")
            elif (digest := digest_file(path)) != told["sha256"]:
                wrong.append(f"{file} has the checksum {digest}, and had {told['sha256']}")
    return wrong


def remove(name: str, say: Callable[[str], None] = lambda text: None) -> int:
    """Remove a model, or what was fetched of one that never became whole.

    Returns:
        The bytes that are free now.

    Raises:
        UsageError: If there is nothing of it.
    """
    place = get_pulled(name, begun=True)
    with place.locked(say):
        parts = (place.folder, place.downloads, place.new, place.old)
        freed = sum(size_of(part) for part in parts)
        shutil.rmtree(place.old, ignore_errors=True)
        if place.folder.exists():
            place.folder.rename(place.old)
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)
    return freed


def read_json(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file; {} where there is none.

    Raises:
        DataError: If it is not such a file.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "remove it, and pull again") from error
    if not isinstance(said, dict):
        raise DataError(f"{path}: keys and values are expected", "remove it, and pull again")
    return said


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write keys and values whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
