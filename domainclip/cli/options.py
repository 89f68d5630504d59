"""Command-line options for every key of a recipe, generated from the schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import click
from click.shell_completion import CompletionItem

from domainclip.errors import UsageError
from domainclip.recipe.keys import Key, recipe_keys, recipe_sections
from domainclip.recipe.yaml12 import dump_value

from .framework import Option

SHORT = {"data.source": "--data", "model.name": "--model"}
RUN = "Run"
FIRST = ("domain", "data.source", "model.name", "out", "seed", "device")
"""Keys that most people set; they head the help."""

METAVARS = {
    "text": "TEXT",
    "whole number": "INT",
    "number": "FLOAT",
    "true or false": "true|false",
    "list": "A,B",
    "mapping": "A=B,...",
}


class Text(click.ParamType[str]):
    """A value that is checked with the whole recipe, so that all errors are told at once."""

    def __init__(self, key: Key) -> None:
        self.name = key.kind
        self.choices = key.choices or (("true", "false") if key.kind == "true or false" else ())

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the words that the key is limited to."""
        return [CompletionItem(word) for word in self.choices if word.startswith(incomplete)]


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each key; `gather_flags` takes them from its keywords."""
    keys = recipe_keys()
    order = [
        *FIRST,
        *(name for name in keys if name not in FIRST and keys[name].section != "about"),
    ]
    for name in reversed(order):
        function = _option(keys[name])(function)
    return function


def gather_flags(values: dict[str, Any], settings: Sequence[str]) -> dict[str, str]:
    """Return dotted key -> text from the options that were given and from `--set KEY=VALUE`.

    Args:
        values: A command's keyword arguments; those of recipe keys are taken out.
        settings: The values of `--set`.

    Raises:
        UsageError: If a setting has no `=`.
    """
    given = {key: values.pop(_keyword(key), None) for key in recipe_keys()}
    flags = {key: value for key, value in given.items() if value is not None}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: no value", "write --set KEY=VALUE")
        flags[key.strip()] = value
    return flags


def read_unknown(ctx: click.Context) -> dict[str, str]:
    """Return the options that the schema does not know, to be told with all other errors.

    A part of a mapping, such as `--data.columns.label x`, and dashes for underscores are legal.

    Raises:
        click.UsageError: If it is no option with a value, or another option was meant.
    """
    known = [o for p in ctx.command.get_params(ctx) for o in (*p.opts, *p.secondary_opts)]
    flags: dict[str, str] = {}
    words = list(ctx.args)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise click.UsageError(f"Got unexpected argument {word!r}", ctx)
        name, equals, value = word.partition("=")
        meant = [o for o in get_close_matches(name, known, 1, 0.75) if "." not in o]
        if not equals and (meant or not words):
            raise click.NoSuchOption(name, possibilities=known, ctx=ctx)
        flags[name.removeprefix("--")] = value if equals else words.pop(0)
    return flags


def _keyword(key: str) -> str:
    return "key__" + key.replace(".", "__")


def _option(key: Key) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    metavar = "|".join(key.choices) if key.kind == "choice" else METAVARS[key.kind]
    short = [SHORT[key.name]] if key.name in SHORT else []
    section = key.section or RUN
    title = RUN if key.name in FIRST else f"{section}: {recipe_sections()[section].rstrip('.')}"
    default = "" if key.default in (None, "", {}, ()) else f"  [default: {dump_value(key.default)}]"
    return click.option(
        *short,
        f"--{key.name}",
        _keyword(key.name),
        type=Text(key),
        metavar=metavar,
        help=key.help + default,
        cls=Option,
        section=title,
    )
