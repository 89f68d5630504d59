"""The run folder: where it is, what stands in it before the first step, what a resume may do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from domainclip import __version__
from domainclip.data.datamodule import PictureData
from domainclip.domains.contract import Domain
from domainclip.errors import DataError, UsageError
from domainclip.model.clip import DomainClip
from domainclip.model.folder import save_model, write_json
from domainclip.paths import runs_dir
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import to_yaml

RECIPE, ENVIRONMENT, METRICS = "recipe.yaml", "environment.json", "metrics.json"
TOLD = ("commit", "started", "device", "processor", "cores", "precision", "packages")
"""What `domainclip.json` repeats of `environment.json`: nothing that tells of a person's disk."""


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a run.

    Raises:
        UsageError: If there is no run there.
    """
    import yaml

    if not (folder / RECIPE).is_file():
        raise UsageError(f"no run in {folder}", f"a run folder holds {RECIPE}")
    return Recipe.model_validate(yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")))


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """Return `metrics.json` of a run folder."""
    return dict(json.loads((Path(folder) / METRICS).read_text(encoding="utf-8")))


def new_folder(recipe: Recipe) -> Path:
    """Return the folder of a new run, which is not made yet.

    Raises:
        UsageError: If there is a run already, or no folder can be made.
    """
    if recipe.out:
        folder = Path(recipe.out).expanduser()
        if (folder / RECIPE).exists():
            raise UsageError(
                f"{folder} holds a run already",
                f"go on with it by --resume {folder}, or name another --out",
            )
        return _writable(folder)
    stamp = f"{recipe.domain}-{datetime.now():%Y%m%d-%H%M%S}"
    names = (stamp if i == 1 else f"{stamp}-{i}" for i in count(1))
    return _writable(next(runs_dir() / name for name in names if not (runs_dir() / name).exists()))


def _writable(folder: Path) -> Path:
    """Return the folder if it can be made, so that no run is lost at its end."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f"{folder} cannot be made: {there} is not a folder that can be written to",
                         "name another place by --out")  # fmt: skip
    return folder


def write_start(
    folder: Path, recipe: Recipe, origins: Mapping[str, str], environment: dict[str, Any]
) -> None:
    """Write what the run is begun with; by its recipe, which comes last, a folder is a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ENVIRONMENT, environment)
    (folder / RECIPE).write_text(to_yaml(recipe, origins), encoding="utf-8")


def check_same_start(folder: Path, now: Mapping[str, Any]) -> list[str]:
    """Refuse to go on with other data or another model than the run was begun with.

    Args:
        folder: The run folder.
        now: What `environment.json` would hold of a run that began now.

    Returns:
        What else is different and makes a run another one, each in a line.

    Raises:
        DataError: Naming what changed.
    """
    begun = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    anew = f"begin a new run under its recipe: domainclip train --recipe {folder}"
    if begun["data_fingerprint"] != now["data_fingerprint"]:
        old, new = begun.get("data_parts", {}), now["data_parts"]
        changed = sorted(part for part in {*old, *new} if old.get(part) != new.get(part))
        which = f" ({', '.join(changed)})" if old and changed else ""
        raise DataError(f"the data has changed since the run in {folder} began{which}", anew)
    if begun.get("base", now["base"]) != now["base"]:
        raise DataError(
            f"the model that the run in {folder} started from (model.name) has changed since", anew
        )
    before, world = begun.get("processes", 1), now["processes"]
    if before == world:
        return []
    return [f"begun by {before} processes, goes on by {world}: not bit by bit the same run"]


def save_trained(
    folder: Path,
    model: DomainClip,
    data: PictureData,
    recipe: Recipe,
    domain: Domain,
    pretrained: bool,
    environment: Mapping[str, Any],
) -> None:
    """Write `model/` of a run folder."""
    seen = np.unique(data.splits["train"].nodes)
    save_model(
        model.cpu(),
        folder / "model",
        tree=data.tree if data.labelled else None,
        card={
            "domain": domain.name,
            "notice": domain.notice,
            "prompts": recipe.text.prompts,
            "candidates": [list(data.tree.key(int(node))) for node in seen if data.labelled],
            "data_licences": dict(data.licences),
            "provenance": {
                "base": recipe.model.name if pretrained else None,
                "base_note": environment.get("base_note"),
                "recipe": recipe.model_dump(mode="json"),
                "data": data.fingerprint,
                "pictures": {name: len(split) for name, split in data.splits.items()},
                "hub_data": _hub_ids(recipe),
                "captions": list(data.caption_sources),
                "schematic": recipe.data.source == "builtin",
                "domainclip": __version__,
                **{key: environment.get(key) for key in TOLD},
            },
        },
    )


def _hub_ids(recipe: Recipe) -> list[str]:
    """Return the Hub ids among the sources of a run; a folder of that name goes first."""
    named = (recipe.data.source, recipe.data.replay)
    return [
        one.removeprefix("hf-hub:").removeprefix("hf://datasets/")
        for one in named
        if one not in ("", "builtin") and not Path(one).expanduser().exists()
    ]
