"""Reads one source of recipe values at a time: a file, the environment, the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from domainclip.errors import suggest

from . import yaml12
from .explain import Problem
from .keys import Key, recipe_keys, recipe_sections

PREFIX = "DOMAINCLIP_"
RESERVED = frozenset(PREFIX + name for name in ("HOME", "DOMAINS", "DEBUG", "TEST_DATA"))
"""Environment variables of the prefix that are no recipe keys."""

COMMAND_LINE = "command line"


@dataclass
class Layer:
    """The values of one source, and what is wrong with them."""

    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """Dotted key -> (value, where it was said); the parts of a mapping are keys of their own."""
    problems: list[Problem] = field(default_factory=list)
    extends: tuple[str, str] | None = None
    """The parent's name and where it was said."""

    def complain(self, where: str, key: str, text: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(where, key, text))

    def add(self, key: Key, value: Any, where: str) -> None:
        """Set a key to a typed value; validation of the value itself comes after merging."""
        if isinstance(value, bool) and key.kind in ("whole number", "number"):
            said = yaml12.dump_value(value)
            self.complain(where, f"{key.name} = {said}", f"should be a {key.kind}")
        else:
            self.values[key.name] = (value, where)


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Return the recipe keys of the environment: `DOMAINCLIP_OPTIM__LR=3e-5` is `optim.lr`."""
    layer = Layer()
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and name not in RESERVED:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            _add_text(layer, key, text, f"environment ({name})")
    return layer


def read_flags(flags: Mapping[str, Any], where: str = COMMAND_LINE) -> Layer:
    """Return keys given as text or as typed values; `data.batch-size` is `data.batch_size` too."""
    layer = Layer()
    for name, value in flags.items():
        plain = name.replace("-", "_")
        _add_text(layer, plain if plain in recipe_keys() else name, value, where)
    return layer


def read_file(path: Path, name: str) -> Layer:
    """Return the keys of a YAML file; one that cannot be read has its problem in the layer.

    Args:
        path: The file.
        name: What messages call it.
    """
    layer = Layer()
    try:
        root = yaml12.compose(path.read_text(encoding="utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        layer.complain(where, "", f"not valid YAML: {error.problem or error.context}")
        return layer
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        layer.complain(name, "", f"cannot be read: {' '.join(str(error).split())}")
        return layer
    if isinstance(root, yaml.MappingNode):
        _read_mapping(layer, root, "", name)
    elif root is not None:
        layer.complain(name, "", "is no recipe: it should hold `key: value` lines")
    return layer


def _read_mapping(layer: Layer, node: yaml.MappingNode, prefix: str, name: str) -> None:
    lines: dict[str, int] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        said = yaml12.scalar_text(key_node)
        key = prefix + ("null" if said is None else said)
        where = f"{name}:{line}"
        if key in lines or key in layer.values:
            first = f", first on line {lines[key]}" if key in lines else ""
            layer.complain(where, key, f"given twice{first}")
        elif key == "extends":
            parent = yaml12.scalar_text(value)
            layer.extends = (parent, where) if parent else None
            if not parent:
                layer.complain(where, key, "takes the name of one parent")
        else:
            try:
                _read_value(layer, key, value, where, name)
            except yaml.YAMLError as error:
                layer.complain(where, key, f"cannot be read: {getattr(error, 'problem', error)}")
        lines.setdefault(key, line)


def _read_value(layer: Layer, key: str, value: yaml.Node, where: str, name: str) -> None:
    known = recipe_keys().get(key)
    if key in recipe_sections():
        if isinstance(value, yaml.MappingNode):
            _read_mapping(layer, value, f"{key}.", name)
        elif yaml12.construct(value) is not None:
            layer.complain(where, key, "is a section; its keys go below it")
    elif known is None and not _in_mapping(key):
        layer.complain(where, key, _unknown(key))
    elif known and known.kind == "mapping" and isinstance(value, yaml.MappingNode) and value.value:
        _read_mapping(layer, value, f"{key}.", name)
    elif isinstance(value, yaml.ScalarNode) and (known is None or known.kind == "text"):
        layer.values[key] = (yaml12.scalar_text(value), where)  # as written: 012 and no are text
    elif known is None:
        layer.values[key] = (yaml12.construct(value), where)
    else:
        layer.add(known, yaml12.construct(value), where)


def _add_text(layer: Layer, key: str, value: Any, where: str) -> None:
    """Add a value, typed by the schema: text stays as it is written, the rest is read as YAML."""
    known = recipe_keys().get(key)
    if known is None and _in_mapping(key):
        layer.values[key] = (value, where)
    elif known is None:
        layer.complain(where, key, _unknown(key))
    elif not isinstance(value, str) or known.kind == "text":
        layer.add(known, value, where)
    else:
        try:
            node = yaml12.compose(value)
            typed = None if node is None else yaml12.construct(node)
        except yaml.YAMLError:
            typed = value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if known.kind == "list" and not isinstance(typed, list | None):  # names,captions
            typed = parts
        elif known.kind == "mapping" and parts and all("=" in part for part in parts):
            typed = dict(part.split("=", 1) for part in parts)  # label=species,image=file
        layer.add(known, typed, where)


def _in_mapping(key: str) -> bool:
    """Return whether a key is a part of a free mapping, such as `data.columns.label`."""
    owners = (name for name, known in recipe_keys().items() if known.kind == "mapping")
    return any(key.startswith(f"{owner}.") for owner in owners)


def _unknown(key: str) -> str:
    """Return what to say of a key that does not exist: a section, or the key that was meant."""
    names = list(recipe_keys())
    if key in recipe_sections():
        example = next(name for name in names if name.startswith(f"{key}."))
        return f"is a section; give one of its keys, such as {example}"
    last = key.rpartition(".")[2]
    short = {name.rpartition(".")[2]: name for name in reversed(names)}
    hint = suggest(key, [*names, *recipe_sections(), "extends"])
    if last in short:
        hint = f"did you mean {short[last]!r}?"
    elif not hint and (close := suggest(last, short)):
        hint = next(f"did you mean {name!r}?" for s, name in short.items() if repr(s) in close)
    return f"no such key; {hint}" if hint else "no such key"
