"""The door to LanceDB, an optional package: an embedded database of vectors in a folder."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from domainclip.errors import UsageError


def connect(folder: str | Path) -> Any:
    """Open the database of a folder; each look at a table sees what was last written.

    Raises:
        UsageError: If LanceDB is not installed.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # else it warns of every table that it makes
    try:
        import lancedb
    except ImportError:
        raise UsageError(
            "tables of vectors need LanceDB, which is not installed",
            'pip install "domainclip[search]"',
        ) from None
    return lancedb.connect(str(folder), read_consistency_interval=timedelta(0))
