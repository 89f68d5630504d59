"""Takes over a model folder of our own as it is, with its heads, labels and calibration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domainclip.model.folder import CARD, load_model, write_json
from domainclip.zoo.card import Card

from .published import read_json


def keep_folder(card: Card, files: Path, out: Path, provenance: Mapping[str, Any]) -> Path:
    """Copy a model folder, and write into it where it came from.

    Its files stay the same to the bit, so that a calibration goes on holding for them; what
    trained it stays in `provenance`, and where it was fetched stands below `fetched`.

    Args:
        card: What is known of the model.
        files: The folder as it was published.
        out: The model folder to write.
        provenance: Where the files are from.

    Raises:
        UsageError: If it cannot be loaded.
        DataError: If what it says of itself is not JSON.
    """
    load_model(files)  # heads and towers that do not fit are told now, not at the first use
    told = read_json(files / CARD)
    shutil.copytree(files, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    own = told.get("provenance")
    told |= {
        "zoo": card.name,
        "licence": card.licence,
        "commercial": card.commercial,
        "derivatives": card.derivatives,
        "provenance": json.loads(json.dumps({**(own or {}), "fetched": dict(provenance)})),
    }
    write_json(out / CARD, told)
    return out
