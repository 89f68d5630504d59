"""The tensors of a published model: safetensors, whole or in parts, pickles, or in an archive."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from torch import Tensor

from domainclip.errors import DataError
from domainclip.model.building import reading
from domainclip.zoo.pickles import unpickle

from .archives import CHECKPOINTS, extract_checkpoint

State = dict[str, Tensor]


def find_weights(files: Path, wanted: Sequence[str], usual: Sequence[str]) -> Path:
    """Return the file of a model's weights.

    Args:
        files: The folder of the downloaded files.
        wanted: Names that the card gives, the first that is there wins.
        usual: Names that models of its kind have.

    Raises:
        DataError: If there is none, or several that could be meant.
    """
    if files.is_file():
        return files
    likely = (*CHECKPOINTS, ".zip", ".index.json")
    for name in (*(n for n in wanted if n.lower().endswith(likely)), *usual):
        if ".." not in PurePosixPath(name).parts and (files / name).is_file():
            return files / name
    found = sorted(p for p in files.rglob("*") if p.suffix.lower() in (*CHECKPOINTS, ".zip"))
    if len(found) == 1:
        return found[0]
    there = ", ".join(str(p.relative_to(files)) for p in found[:5]) or "none"
    raise DataError(
        f"{files}: cannot tell which file holds the weights; there are {there}",
        "name it in `source.files` of the card",
    )


def read_state(path: Path, scratch: Path) -> State:
    """Return the tensors of a file of weights, by their names in it.

    Args:
        path: The file.
        scratch: A folder for what is taken out of pickles and archives, gone again on return.

    Raises:
        DataError: If it is broken, empty, of an unknown kind, or would run code.
    """
    if path.name.endswith(".index.json"):
        return _read_parts(path, scratch)
    if path.suffix == ".safetensors":
        with reading(path) as state:
            pass
        return state
    with tempfile.TemporaryDirectory(dir=scratch) as inside:
        folder = Path(inside)
        if path.suffix.lower() == ".zip" and _is_archive(path):
            inner = extract_checkpoint(path, folder)
            return read_state(inner, folder)
        return read_state(unpickle(path, folder / "unpickled.safetensors"), folder)


def _is_archive(path: Path) -> bool:
    """Return whether a file holds a checkpoint, and is not one: torch's own are zip files too."""
    if not zipfile.is_zipfile(path):
        return True  # broken, which is told when it is opened
    with zipfile.ZipFile(path) as archive:
        return not any(n.endswith("/data.pkl") and n.count("/") == 1 for n in archive.namelist())


def _read_parts(index: Path, scratch: Path) -> State:
    """Return the tensors that lie in several files, as an index says."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in places.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index} is no index of weights: {error}") from error
    state: State = {}
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name:
            raise DataError(f"{index} names {name!r}, which does not lie beside it")
        if not (index.parent / name).is_file():
            raise DataError(f"{index} names {name}, which is missing", "fetch the model again")
        state |= read_state(index.parent / name, scratch)
    return state
