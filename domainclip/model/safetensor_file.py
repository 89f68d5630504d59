"""Where the tensors of a safetensors file lie in it.

The layout (8 bytes of length, a JSON header, the data) is described at
https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from domainclip.errors import DataError

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A tensor in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    """Byte of the file that it begins at."""


def read_places(path: Path) -> dict[str, Place]:
    """Return the tensors of a file, without reading them.

    Raises:
        DataError: If the file is no whole safetensors file.
    """
    try:
        with safe_open(path, "pt"):  # which checks that the header fits the file
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is no whole safetensors file: {' '.join(str(error).split())}",
            "it may be cut off: copy or fetch it again",
        ) from error
    unknown = {told["dtype"] for name, told in header.items() if name != "__metadata__"} - {*_TYPES}
    if unknown:
        raise DataError(f"{path} holds numbers of an unknown format: {', '.join(sorted(unknown))}")
    return {
        name: Place(
            _TYPES[told["dtype"]], tuple(told["shape"]), 8 + length + told["data_offsets"][0]
        )
        for name, told in header.items()
        if name != "__metadata__"
    }
