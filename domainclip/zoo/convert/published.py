"""What the files of a published model say: weights, architecture, pictures, texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from domainclip.errors import DataError
from domainclip.model.clip import Preprocess


@dataclass
class Published:
    """A model as its files describe it."""

    state: dict[str, Tensor]
    """Its tensors, under the names that the files or open_clip give them."""
    config: dict[str, Any]
    """open_clip's `model_cfg`."""
    preprocess: Preprocess | None
    """None where the files do not say it."""
    tokenizer: Path | None = None
    """A folder with the files of its tokenizer; None for CLIP's own."""
    text_tower: dict[str, Any] | None = None
    """The config of a text tower that transformers builds; None for one of open_clip's."""
    where: str = ""
    """The file that the weights come from."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Raises:
        DataError: If there is no such file, or it is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "fetch the model again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no mapping", "fetch the model again")
    return found
