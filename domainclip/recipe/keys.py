"""Every key that a recipe may have, read off the schema: name, kind, default and help."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .schema import Recipe

Kind = Literal["text", "whole number", "number", "true or false", "choice", "list", "mapping"]


@dataclass(frozen=True)
class Key:
    """One key of a recipe."""

    name: str
    """Dotted, as typed after `--`: `optim.lr`."""
    section: str
    """`optim`; "" at the top."""
    kind: Kind
    choices: tuple[str, ...]
    """The words that a choice, or each part of a list, is limited to."""
    optional: bool
    """True where null, for unset, is allowed."""
    default: Any
    """None for a key that has to be given."""
    help: str


@cache
def recipe_keys() -> Mapping[str, Key]:
    """Return all keys by dotted name, in the order of the schema."""
    return types.MappingProxyType(dict(_walk(Recipe, "")))


@cache
def recipe_sections() -> Mapping[str, str]:
    """Return the sections by name with the sentence that explains each."""
    return types.MappingProxyType(
        {
            name: inspect.cleandoc(field.annotation.__doc__ or "")
            for name, field in Recipe.model_fields.items()
            if _is_section(field.annotation) and field.annotation is not None
        }
    )


def alternatives() -> tuple[frozenset[str], ...]:
    """Return groups of keys that exclude each other; a later layer's replaces an earlier's."""
    return (frozenset({"train.epochs", "train.steps", "train.minutes"}),)


def _walk(model: type[BaseModel], prefix: str) -> list[tuple[str, Key]]:
    found: list[tuple[str, Key]] = []
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            found += _walk(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            found.append((prefix + name, _key(prefix, name, field)))
    return found


def _key(prefix: str, name: str, field: FieldInfo) -> Key:
    kind, choices, optional = _kind(field.annotation)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    text = " ".join((field.description or "").split())
    return Key(prefix + name, prefix.rstrip("."), kind, choices, optional, default, text)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...], bool]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin in (Union, types.UnionType):
        inner = [p for p in parts if p is not types.NoneType]
        kind, choices, _ = _kind(inner[0])
        return kind, choices, len(inner) < len(parts)
    if origin is Literal:
        return "choice", tuple(str(p) for p in parts), False
    if origin in (tuple, list):
        return "list", _kind(parts[0])[1], False
    if origin is dict:
        return "mapping", (), False
    plain: dict[Any, Kind] = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
    }
    if annotation not in plain:
        raise TypeError(f"a recipe key cannot have the type {annotation}")
    return plain[annotation], (), False
