"""Reads YAML by the rules of version 1.2, with the line of every key.

PyYAML follows version 1.1, where `1e-4` is text, `no` is false, `012` is ten and a key given twice
silently wins. All four have spoilt runs, so recipes are read with the plain rules of 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain scalars of YAML 1.2: null, true, false and numbers."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own convention


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads back as the same value."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out in full."""
        return True


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
        )


class _QuickLoader(getattr(yaml, "CSafeLoader", Loader)):  # type: ignore[misc]
    """The same rules on libyaml, about eight times as fast; its errors quote no text."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def compose(text: str, *, quick: bool = False) -> yaml.Node | None:
    """Return the tree of one document, None where it is empty.

    Args:
        text: The document.
        quick: Use libyaml where PyYAML has it: for many files, whose errors need no quote.

    Raises:
        yaml.YAMLError: If it is not YAML, or more than one document.
    """
    return yaml.compose(text, _QuickLoader if quick else Loader)


def construct(node: yaml.Node) -> Any:
    """Return the value of a part of the tree.

    Raises:
        yaml.YAMLError: If it has a tag that is not a plain value.
    """
    return Loader("").construct_document(node)


def scalar_text(node: yaml.Node) -> str | None:
    """Return a scalar as it is written, so that `012` and `no` stay text; None for null."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)


def dump_value(value: Any) -> str:
    """Return a value on one line of YAML that this loader and PyYAML's own read back the same."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(dump_value(v) for v in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dump_value(k)}: {dump_value(v)}" for k, v in value.items()) + "}"
    quote = isinstance(value, str) and not _reads_back_plain(value)
    text: str = yaml.dump(
        value,
        Dumper=Dumper,
        default_style='"' if quote else None,
        width=1 << 30,
        allow_unicode=True,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _reads_back_plain(text: str) -> bool:
    # Narrow on purpose: in doubt a text is quoted.
    if not re.fullmatch(r"[^\W\d_][\w ./+()-]*", text) or text != text.strip():
        return False
    return all(yaml.load(text, Loader=loader) == text for loader in (Loader, yaml.SafeLoader))
