"""Turns the errors of validation into lines that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from domainclip.errors import suggest

from .keys import recipe_keys
from .yaml12 import dump_value


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it was said, the key (with its value), and what is wrong."""

    where: str
    key: str
    text: str

    def __str__(self) -> str:
        """Return the line that people read."""
        return ": ".join(part for part in (self.where, self.key, self.text) if part)


def explain(error: ValidationError, values: Mapping[str, tuple[Any, str]]) -> list[Problem]:
    """Return one problem a key, with its source, in plain English.

    Args:
        error: What pydantic found.
        values: Dotted key -> (value, where it was said).
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for item in error.errors():
        found.setdefault(_key_of(item["loc"], values), []).append(dict(item))
    return [_problem(key, items, values) for key, items in found.items()]


def _key_of(loc: tuple[int | str, ...], values: Mapping[str, Any]) -> str:
    """Return the key that a place in the model belongs to, without branches and indices."""
    for end in range(len(loc), 0, -1):
        name = ".".join(str(part) for part in loc[:end])
        if name in values or name in recipe_keys():
            return name
    return str(loc[0]) if loc else ""


def _problem(
    key: str, items: list[dict[str, Any]], values: Mapping[str, tuple[Any, str]]
) -> Problem:
    if key in values:
        value, where = values[key]
        name = f"{key} = {_say_value(value)}"
    elif items[0]["type"] == "missing":
        where, name = "", key
    else:  # a rule of a section: name every source that has a part in it
        words = " ".join(str(item["msg"]) for item in items).replace(",", " ").split()
        below = f"{key}." if key else ""
        parts = [w for k, (_, w) in values.items() if key and k.startswith(below)]
        named = [
            w
            for k, (_, w) in values.items()
            if k.startswith(below) and k.removeprefix(below) in words
        ]
        where, name = ", ".join(dict.fromkeys(named or parts)), key
    return Problem(where, name, " or ".join(dict.fromkeys(_say(item) for item in items)))


def _say_value(value: Any) -> str:
    text = value if isinstance(value, str) else dump_value(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _say(item: dict[str, Any]) -> str:
    kind, ctx = item["type"], item.get("ctx", {})
    if kind == "literal_error":
        choices = [c.strip().strip("'") for c in ctx["expected"].replace(" or ", ", ").split(",")]
        hint = suggest(str(item["input"]), choices)
        listed = (
            f"should be one of {', '.join(choices)}"
            if len(choices) > 1
            else f"can only be {choices[0]}"
        )
        return f"{listed}; {hint}" if hint else listed
    if kind == "value_error":
        return str(ctx.get("error", item["msg"]))
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        return f"should be {words} {ctx[name]:g}"
    if kind in ("missing",):
        return "has to be given"
    for start, words in _WORDS.items():
        if kind.startswith(start):
            return f"should be {words}"
    message = str(item["msg"])
    return message[:1].lower() + message[1:]


_LIMITS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_WORDS = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "text",
    "tuple_": "a list, such as [a, b]",
    "list_": "a list, such as [a, b]",
    "dict_": "a mapping, such as {a: b}",
    "finite_": "a finite number",
}
