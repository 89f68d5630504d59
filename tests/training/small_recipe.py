"""A recipe that trains in seconds, for tests of whole runs."""

from pathlib import Path
from typing import Any

from domainclip.recipe.schema import Recipe


def small_recipe(out: Path | str = "", **changes: Any) -> Recipe:
    """Return a recipe of a few steps on built-in pictures of 32 pixels; sections are merged."""
    values: dict[str, Any] = {
        "domain": "biology",
        "out": str(out),
        "device": "cpu",
        "data": {"limit": 24, "batch_size": 8, "workers": 0},
        "model": {"image_size": 32},
        "train": {"steps": 4, "validations": 2, "precision": "float32"},
        "evaluate": {"bootstrap": 0},
    }
    for section, inner in changes.items():
        values[section] = {**values.get(section, {}), **inner} if isinstance(inner, dict) else inner
    return Recipe.model_validate(values)
