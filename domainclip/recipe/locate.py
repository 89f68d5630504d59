"""Finds recipe files: the bundled ones by name, others by path."""

from __future__ import annotations

from pathlib import Path

from domainclip import paths
from domainclip.errors import UsageError, suggest


def bundled_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that ship with the package: `folder/name`."""
    root = paths.recipes_dir()
    found = (p.relative_to(root).with_suffix("").as_posix() for p in root.glob("*/*.yaml"))
    return tuple(sorted(found))


def locate(recipe: str, domain: str | None = None) -> Path:
    """Return the file of a recipe.

    Args:
        recipe: `folder/name` of a bundled one; `name` alone looks in the domain's folder, then in
            `methods`; else the path of a file or of a run folder.
        domain: The field, for a name alone.

    Raises:
        UsageError: If there is none, with the names that come close.
    """
    names = bundled_recipes()
    wanted = [recipe] if "/" in recipe else [f"{domain}/{recipe}", f"methods/{recipe}"]
    for name in wanted:
        if name in names:
            return paths.recipes_dir() / f"{name}.yaml"
    path = Path(recipe).expanduser()
    for candidate in (path, path / "recipe.yaml"):
        if candidate.is_file():
            return candidate
    if path.suffix in (".yaml", ".yml") or path.is_dir() or recipe.startswith((".", "~", "/")):
        missing = "no recipe.yaml in the folder" if path.is_dir() else "no recipe file"
        raise UsageError(f"{missing} {recipe}", "domainclip recipes list shows those that ship")
    usable = [n for n in names if domain is None or n.startswith((f"{domain}/", "methods/"))]
    short = [name.rpartition("/")[2] for name in usable]
    raise UsageError(
        f"no recipe {recipe!r}" + (f" for {domain}" if domain and "/" not in recipe else ""),
        suggest(recipe, [*short, *names]) or f"there are {', '.join(names) or 'none'}",
    )


def shown(path: Path) -> str:
    """Return how a recipe file is called in messages: a bundled one by its place in `recipes/`."""
    root = paths.recipes_dir()
    return (
        f"recipes/{path.relative_to(root).as_posix()}" if path.is_relative_to(root) else str(path)
    )
