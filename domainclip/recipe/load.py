"""Builds a recipe from its layers, and says everything that is wrong with it at once.

Order, later wins: default < parent (`extends`) < recipe file < environment < `--tiny` < flags.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from domainclip import paths
from domainclip.domains import registry
from domainclip.errors import UsageError, suggest

from .explain import Problem, explain
from .keys import alternatives, recipe_keys
from .layers import Layer, read_environment, read_file, read_flags
from .locate import locate, shown
from .schema import Recipe

TINY = "--tiny"
"""The origin of what `--tiny` sets."""
OPEN = "???"
"""The value of a key that a recipe leaves to its user, such as the model to fine-tune."""


class RecipeError(UsageError):
    """A recipe that cannot be used; `problems` holds one line for each thing that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(str(p) for p in problems))
        count = len(self.problems)
        head = "" if count == 1 else f"the recipe has {count} problems:\n  "
        super().__init__(
            head + "\n  ".join(self.problems),
            "domainclip recipes show NAME lists every key with its help",
        )


@dataclass(frozen=True)
class Loaded:
    """A recipe that is complete and valid, with the source of every value."""

    recipe: Recipe
    origins: Mapping[str, str]
    """Dotted key -> "default", `file:line`, "environment (NAME)", "--tiny" or "command line"."""
    name: str
    """How the recipe was asked for: `quickstart`, `biology/quickstart`, or its path."""


def load_recipe(
    domain: str | None = None,
    recipe: str | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    tiny: bool = False,
) -> Loaded:
    """Return a recipe with every layer applied.

    Args:
        domain: The field; None where the recipe, a flag or the environment names it.
        recipe: A name (`quickstart`, `biology/quickstart`), a YAML file or a run folder; None for
            the domain's own default.
        flags: Dotted key -> value, text or already typed; they win over everything.
        environ: The environment; None for this process's.
        tiny: Shrink the run to seconds.

    Raises:
        RecipeError: With every unknown key and every bad value of every layer, and every key that
            the recipe leaves open and nobody has given.
        UsageError: If there is no recipe of that name, or neither domain nor recipe is named.
    """
    said = read_flags({**({} if domain is None else {"domain": domain}), **(flags or {})})
    environment = read_environment(os.environ if environ is None else environ)
    early = (said.values.get("domain") or environment.values.get("domain") or (None,))[0]
    if recipe is None and not early:
        names = ", ".join(registry.find_domains())
        raise UsageError("which field?", f"give --domain; there are {names or 'none installed'}")
    if recipe is None:
        recipe = _default_recipe(early)
    layers = [*read_chain(recipe, early), environment, *([shrink(said)] if tiny else []), said]
    return merge(layers, recipe, complete=True)


def load_alone(recipe: str) -> Loaded:
    """Return a recipe without environment or flags.

    Its domain is "" where the file names none, and what it leaves open is "???".

    Raises:
        RecipeError: With everything that is wrong with it.
        UsageError: If there is no recipe of that name.
    """
    return merge([Layer({"domain": ("", "default")}), *read_chain(recipe, None)], recipe)


def read_chain(recipe: str, domain: str | None) -> list[Layer]:
    """Return the layers of a recipe file and its parents, the oldest parent first.

    What a parent says of itself (`about`) is left out: it was measured on the parent.

    Raises:
        UsageError: If the recipe itself is not there; a missing parent is one problem among others.
    """
    path = locate(recipe, domain)
    chain: list[Layer] = []
    seen: list[Path] = []
    while True:
        seen.append(path)
        layer = read_file(path, shown(path))
        if chain:
            said = layer.values.items()
            layer.values = {k: value for k, value in said if not k.startswith("about.")}
        chain.insert(0, layer)
        if layer.extends is None:
            return chain
        name, where = layer.extends
        bundled = path.is_relative_to(paths.recipes_dir())
        beside = path.parent / Path(name).expanduser()
        try:
            if beside.is_file() and not bundled:
                path = beside
            else:
                path = locate(name, path.parent.name if bundled else domain)
        except UsageError as error:
            layer.complain(where, "extends", f"{error.message}; {error.hint}")
            return chain
        if path.resolve() in [p.resolve() for p in seen]:
            round_trip = " > ".join(shown(p) for p in [*seen, path])
            layer.complain(where, "extends", f"the recipes extend each other: {round_trip}")
            return chain


def shrink(flags: Layer) -> Layer:
    """Return the layer of `--tiny`: few pictures, four steps, one validation."""
    batch = flags.values.get("data.batch_size", (16,))[0]
    values = {
        "data.batch_size": 16,
        "data.limit": 4 * (batch if isinstance(batch, int) else 16),
        "train.steps": 4,
        "train.validations": 1,
        "evaluate.bootstrap": 50,
    }
    return Layer({key: (value, TINY) for key, value in values.items()})


def merge(layers: Sequence[Layer], name: str, *, complete: bool = False) -> Loaded:
    """Apply layers in order and validate the result once.

    Args:
        layers: The earliest first.
        name: How the recipe was asked for.
        complete: Refuse what is left open.

    Raises:
        RecipeError: With the problems of all layers and of the result.
    """
    values: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        for group in alternatives():
            if any(layer.values.get(key, (None,))[0] is not None for key in group):
                for key in group:
                    values.pop(key, None)
        for key, said in layer.values.items():
            if key in recipe_keys() and recipe_keys()[key].kind == "mapping":
                for part in [k for k in values if k.startswith(f"{key}.")]:
                    del values[part]
            values[key] = said
    problems = [problem for layer in layers for problem in layer.problems]
    problems += _check_domain(*values.get("domain", ("", "")))
    problems += [
        Problem(where, key, f"has to be given, as --{key} VALUE: {recipe_keys()[key].help}")
        for key, (value, where) in values.items()
        if complete and value == OPEN
    ]
    try:
        recipe = Recipe.model_validate(_nest(values))
    except ValidationError as error:
        raise RecipeError(problems + explain(error, values)) from None
    if problems:
        raise RecipeError(problems)
    return Loaded(recipe, {key: _origin(key, values) for key in recipe_keys()}, name)


def _check_domain(name: Any, where: str) -> list[Problem]:
    known = registry.find_domains()
    if not name or name in known:
        return []
    hint = suggest(str(name), known) or f"there are {', '.join(known) or 'none'}"
    return [Problem(where, f"domain = {name}", f"no such domain; {hint}")]


def _default_recipe(domain: Any) -> str:
    try:
        return registry.get_domain(domain).recipe
    except UsageError:
        if domain in registry.find_domains():
            raise
        return "quickstart"  # the unknown domain is reported with everything else


def _origin(key: str, values: Mapping[str, tuple[Any, str]]) -> str:
    said = [where for name, (_, where) in values.items() if f"{name}.".startswith(f"{key}.")]
    return ", ".join(dict.fromkeys(said)) or "default"


def _nest(values: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, (value, _) in values.items():
        *sections, last = key.split(".", 2)  # what follows in a mapping's own name may hold dots
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return nested
