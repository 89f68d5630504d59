"""Reads plain values into dataclasses: nothing unknown, nothing coerced, every problem at once.

Cards are read by every `zoo list`, and importing a validation library would take longer than
reading all of them.
"""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from domainclip.errors import suggest

T = TypeVar("T")
Place = tuple[str | int, ...]
_SAID = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Matches:
    """A rule of a text, for `Annotated`: a pattern, and what to say where it does not fit."""

    pattern: str
    says: str


@dataclass(frozen=True)
class AtLeast:
    """A rule of a number, for `Annotated`."""

    least: int


@dataclass
class Problems:
    """What is wrong with values, each with its place."""

    found: list[tuple[Place, str]] = field(default_factory=list)

    def add(self, place: Place, text: str) -> None:
        """Add one."""
        self.found.append((place, text))


def read_values(kind: type[T], values: Any, problems: Problems, place: Place = ()) -> T | None:
    """Return a dataclass of values; None where there are problems.

    Args:
        kind: The dataclass; its hints may be texts, numbers, booleans, `Literal`, other
            dataclasses, `| None`, and tuples and dictionaries of these.
        values: What a YAML file holds.
        problems: Is added to.
        place: Where the values stand in a larger whole.
    """
    before = len(problems.found)
    if not isinstance(values, Mapping):
        problems.add(place, "keys and values are expected")
        return None
    hints, required = _fields_of(kind)  # type: ignore[arg-type]  # classes can be hashed
    read = {}
    for key, value in values.items():
        if key in hints:
            read[key] = _read(hints[key], value, (*place, key), problems)
        else:
            near = suggest(str(key), hints)
            problems.add((*place, str(key)), "there is no such key" + (near and f"; {near}"))
    for key in required:
        if key not in values:
            problems.add(place, f"`{key}` is missing")
    if len(problems.found) > before:
        return None
    try:
        return kind(**read)
    except ValueError as error:
        problems.add(place, str(error))
        return None


@functools.cache
def _fields_of(kind: type[Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    required = (f.name for f in fields(kind) if f.default is f.default_factory is MISSING)
    return get_type_hints(kind, include_extras=True), tuple(required)


def _read(hint: Any, value: Any, place: Place, problems: Problems) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        before = len(problems.found)
        value = _read(inner[0], value, place, problems)
        if len(problems.found) == before:
            _follow(inner[1:], value, place, problems)
        return value
    if origin in (Union, types.UnionType):
        rest = next(part for part in inner if part is not types.NoneType)
        return None if value is None else _read(rest, value, place, problems)
    if origin is Literal:
        if value not in inner:
            problems.add(place, f"one of {', '.join(map(str, inner))} is expected, not {value!r}")
        return value
    if origin is tuple:
        return _read_list(inner, value, place, problems)
    if origin is dict:
        if not isinstance(value, Mapping):
            problems.add(place, "keys and values are expected")
            return {}
        return {
            _read(inner[0], key, (*place, str(key)), problems): _read(
                inner[1], part, (*place, str(key)), problems
            )
            for key, part in value.items()
        }
    if is_dataclass(hint):
        return read_values(hint, value, problems, place)  # type: ignore[arg-type]
    return _read_scalar(hint, value, place, problems)


def _read_scalar(hint: type[Any], value: Any, place: Place, problems: Problems) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        return float(value)
    if type(value) is not hint or hint is float:
        problems.add(place, f"{_SAID[hint]} is expected, not {value!r}")
    return value


def _read_list(inner: tuple[Any, ...], value: Any, place: Place, problems: Problems) -> Any:
    if not isinstance(value, list):
        problems.add(place, "a list is expected: [a, b]")
        return ()
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        problems.add(place, f"{len(inner)} values are expected, not {len(value)}")
        return ()
    return tuple(_read(inner[0], part, (*place, i), problems) for i, part in enumerate(value))


def _follow(rules: tuple[Any, ...], value: Any, place: Place, problems: Problems) -> None:
    for rule in rules:
        if isinstance(rule, Matches) and not re.fullmatch(rule.pattern, value):
            problems.add(place, f"{rule.says} is expected, not {value!r}")
        if isinstance(rule, AtLeast) and value < rule.least:
            problems.add(place, f"at least {rule.least} is expected, not {value}")
