"""The weights of a TorchScript archive, read without running any of its code.

OpenAI published CLIP in such archives: a zip file with `data.pkl`, the tree of modules, and one
file of `data/` for each storage. The code beside them is left alone.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domainclip.errors import DataError

_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_LISTS = {"build_intlist", "build_tensorlist", "build_doublelist", "build_boollist"}


def is_one(path: Path) -> bool:
    """Return whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_state(path: Path) -> dict[str, Tensor]:
    """Return parameters and buffers of an archive by their dotted names.

    Raises:
        DataError: If the tree names anything but modules and tensors.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        inside = next((n for n in names if n.endswith("/data.pkl") and n.count("/") == 1), None)
        if inside is None:
            raise DataError("it is a TorchScript archive without data.pkl")
        tree = _Reader(archive, inside.removesuffix("data.pkl")).load()
        return dict(_walk(tree, ""))


class _Module:
    """Stands for a module of the archive: it holds what the tree says of it, and does nothing."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Reads the tree of modules; whatever else a pickle may name is refused before it is used."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self.archive, self.root = archive, root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; only modules, tensors and lists of numbers are known."""
        if module.split(".")[0] == "__torch__":
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise DataError(
            f"it would run {module}.{name} when loaded, so it was not loaded and nothing was run"
        )

    def persistent_load(self, pid: Any) -> Tensor:
        """Return a storage as a flat tensor."""
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isdigit():
            raise DataError("its tensors are not laid out as TorchScript does it")
        if key not in self.storages:
            raw = bytearray(self.archive.read(f"{self.root}data/{key}"))
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0)
        return self.storages[key]


def _rebuild(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _walk(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    state = getattr(module, "state", None)
    for name, value in (state if isinstance(state, dict) else {}).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _walk(value, f"{prefix}{name}.")
