"""Shows recipes: as commented YAML, as rows that differ, as a JSON schema for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .keys import recipe_keys, recipe_sections
from .schema import Recipe
from .yaml12 import dump_value

COMMENT_COLUMN = 34


def flatten(recipe: Recipe) -> dict[str, Any]:
    """Return the value of every key by dotted name, in the order of the schema."""
    values: dict[str, Any] = {}
    for name in recipe_keys():
        value: Any = recipe
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    return values


def to_yaml(recipe: Recipe, origins: Mapping[str, str] | None = None) -> str:
    """Return a recipe as YAML that is itself a recipe, with the help of every key beside it.

    Args:
        recipe: What to print.
        origins: Dotted key -> source, printed before the help where given.
    """
    values = flatten(recipe)
    top = [name for name, key in recipe_keys().items() if not key.section]
    lines = [_line(name, values[name], origins) for name in top]
    for section, help_text in recipe_sections().items():
        lines += ["", *(f"# {line}".rstrip() for line in help_text.splitlines()), f"{section}:"]
        names = [name for name, key in recipe_keys().items() if key.section == section]
        lines += [f"  {_line(name, values[name], origins, 2)}" for name in names]
    return "\n".join(lines) + "\n"


def diff(first: Recipe, second: Recipe) -> list[dict[str, Any]]:
    """Return the keys in which two recipes differ: columns key, a, b."""
    a, b = flatten(first), flatten(second)
    return [{"key": name, "a": a[name], "b": b[name]} for name in a if a[name] != b[name]]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, for editors; a file holds only differences."""
    schema = Recipe.model_json_schema()
    schema.pop("required", None)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"] = {
        "extends": {
            "type": "string",
            "description": "The parent whose values this recipe starts from: a name or a path.",
        },
        **schema["properties"],
    }
    return schema


def _line(name: str, value: Any, origins: Mapping[str, str] | None, indent: int = 0) -> str:
    key = recipe_keys()[name]
    said = f"{name.rpartition('.')[2]}: {dump_value(value)}"
    if name == "domain" and not value:
        said = "# domain:"
    parts = [] if origins is None else [f"[{origins.get(name, 'default')}]"]
    choices = "one of " + ", ".join(key.choices) if key.kind == "choice" else ""
    if choices and not all(f"`{choice}`" in key.help for choice in key.choices):
        parts += [f"{key.help.rstrip('.')} ({choices})."]
    else:
        parts += [key.help]
    return f"{said:<{COMMENT_COLUMN - indent}}  # {' '.join(parts)}"
