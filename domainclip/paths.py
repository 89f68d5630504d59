"""Every folder that the package reads from or writes to, in one place."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """Return a folder that ships with the package: inside it, or beside it in a checkout.

    Looks inside first, so that a stray folder of the same name in site-packages is never picked up.
    """
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def recipes_dir() -> Path:
    """Return the folder of the bundled recipes."""
    return bundled("recipes")


def home_dir() -> Path:
    """Return domainclip's own folder: `DOMAINCLIP_HOME`, else the user's cache folder."""
    override = os.environ.get("DOMAINCLIP_HOME")
    if override:
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("domainclip"))


def cache_dir(kind: str) -> Path:
    """Return the cache folder of one kind of thing ("pictures", "labels"); not created here."""
    return home_dir() / kind


def runs_dir() -> Path:
    """Return the folder that run folders are made in unless a recipe names another: `./runs`."""
    return Path("runs")
