"""`--log`: what was asked and with what, to tell later where results came from."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from domainclip import __version__

PACKAGES = ("torch", "open_clip_torch", "timm", "numpy", "pillow")


class Record:
    """A record of one run of a command; it begins when it is made.

    Args:
        file: Where it goes: JSON for `.json`, else text that is appended.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file).expanduser()
        self.started = _now()

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write the record.

        Args:
            facts: What was asked, and what came of it.

        Raises:
            OSError: If the file cannot be written.
        """
        told = {
            "domainclip": __version__,
            "command": sys.argv,
            "started": self.started,
            "ended": _now(),
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in PACKAGES},
            **facts,
        }
        if self.file.suffix.lower() == ".json":
            self.file.write_text(json.dumps(told, indent=2, ensure_ascii=False, default=str) + "\n")
            return
        with self.file.open("a", encoding="utf-8") as log:
            for key, value in told.items():
                text = value if isinstance(value, str) else json.dumps(value, default=str)
                log.write(f"{key}: {text}\n")
            log.write("\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
