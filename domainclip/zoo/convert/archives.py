"""A checkpoint inside a zip archive, taken out with care for what its names and sizes claim."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from domainclip.errors import DataError
from domainclip.zoo.pickles import LIMIT

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def extract_checkpoint(path: Path, into: Path, *, limit: int = LIMIT) -> Path:
    """Take the one checkpoint of an archive out of it.

    Args:
        path: The archive.
        into: The folder to write it to.
        limit: Bytes of the largest checkpoint that is taken out.

    Raises:
        DataError: If the archive is broken, a name in it leads out of it, or it holds not just one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            for member in members:
                _check_name(path, member)
            found = [
                m
                for m in members
                if PurePosixPath(m.filename).suffix.lower() in CHECKPOINTS
                and not PurePosixPath(m.filename).name.startswith("._")  # what a Mac leaves behind
            ]
            if len(found) != 1:
                names = ", ".join(m.filename for m in found or members) or "nothing"
                raise DataError(
                    f"{path} should hold one checkpoint, and holds {names}",
                    "unpack it and import the checkpoint itself",
                )
            return _write(archive, found[0], into, limit)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is cut off or no zip archive: {error}", "get it again") from error


def _check_name(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    away = ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive
    if away or stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(
            f"{path} holds {name!r}, a name that leads out of it; nothing was taken out",
            "do not use this file; tell its publishers",
        )


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path, limit: int) -> Path:
    if member.file_size > limit:
        raise DataError(f"{archive.filename}: {member.filename} has {member.file_size} bytes")
    out = into / PurePosixPath(member.filename).name
    with archive.open(member) as source, out.open("wb") as target:  # zipfile holds it to file_size
        shutil.copyfileobj(source, target, 1 << 20)
    return out
