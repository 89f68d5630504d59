"""A tiny model on the hub of the tests, with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from families import of_open_clip, vit

from domainclip import paths
from domainclip.cli.app import app

REPO = "them/little"
NAME = "general/little"
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


def make_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a hub folder of open_clip, made by it."""
    of_open_clip(folder, vit())
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def write_card(name: str = NAME, **more: Any) -> None:
    """Write a card of the user's own."""
    told = {
        "name": name, "title": "Little", "summary": "A small random model.", "licence": "MIT",
        "commercial": "yes", "derivatives": "yes", "page": "https://example.org/little",
        **more,
    }  # fmt: skip
    told["source"] = {"repo": REPO, **told.get("source", {})}
    file = paths.home_dir() / "cards" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(told), encoding="utf-8")


def zoo(*args: object, group: str = "zoo") -> Result:
    """Run a command as a user types it."""
    return CliRunner().invoke(app, [group, *map(str, args)])


def visible() -> list[str]:
    """Return what lies where commands look for models."""
    return sorted(p.name for p in (paths.home_dir() / "zoo").glob("*/[!.]*") if p.is_dir())


def unfinished() -> list[str]:
    """Return what is left of model folders that were being made."""
    found = (paths.home_dir() / "zoo").rglob(".*")
    return sorted(p.name for p in found if p.name.endswith((".new", ".old")))
