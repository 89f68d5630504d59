"""What a sample's own columns and tags say: reports, field notes, map tags, place and date."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from domainclip.domains.contract import LabelKey, TagRule

from .records import Record, Trait

SOURCES = ("column", "tags")
"""Sources of records that are about one sample rather than its label."""
ABSENT = {"", "no", "none", "nan", "null", "unknown", "n/a", "na", "-"}
"""Values that say nothing; a rule may still name one of them."""


def column_records(
    label: LabelKey, metadata: Mapping[str, Any], columns: Sequence[str]
) -> tuple[Record, ...]:
    """Return one record for each column of text that a sample has.

    Args:
        label: The sample's label.
        metadata: The sample's other columns.
        columns: Columns that hold texts about the picture, such as a report; the best first.
    """
    records = []
    for column in columns:
        cell = metadata.get(column)
        parts = cell if isinstance(cell, (list, tuple)) else [cell]
        text = " ".join(filter(None, map(_text, parts)))
        if text.lower() not in ABSENT:
            records.append(_record(label, "column", column, text))
    return tuple(records)


def tag_records(
    label: LabelKey, metadata: Mapping[str, Any], rules: Sequence[TagRule]
) -> tuple[Record, ...]:
    """Return one record for each tag of a sample that a rule says in words, in the rules' order.

    Tags are columns, and the keys inside a column that holds a mapping, a JSON object, or text such
    as "natural=water; landuse=forest". A rule with a value comes before one with `*`. What cannot
    be seen becomes text without a trait.

    Args:
        label: The sample's label.
        metadata: The sample's other columns.
        rules: The domain's rules.
    """
    tags = _tags(metadata)
    exact = {(_fold(rule.key), _fold(rule.value)) for rule in rules if rule.value != "*"}
    records: dict[str, Record] = {}
    for rule in rules:
        key = _fold(rule.key)
        for value in tags.get(key, ()):
            if rule.value == "*":
                applies = (key, _fold(value)) not in exact and value.lower() not in ABSENT
            else:
                applies = _fold(rule.value) == _fold(value)
            if applies:
                said = rule.say.replace("{key}", _fold(rule.key)).replace(
                    "{value}", value.replace("_", " ")
                )
                record = _record(label, "tags", f"{rule.key}={value}", said, rule.visible)
                records.setdefault(said, record)
    return tuple(records.values())


def _record(label: LabelKey, source: str, title: str, text: str, is_trait: bool = False) -> Record:
    revision = hashlib.sha256(text.encode()).hexdigest()[:12]
    trait = Trait(text=text, sentence=text, source=source, revision=revision)
    return Record(
        label=label,
        subject=label,
        source=source,
        text=text,
        title=title,
        revision=revision,
        traits=(trait,) if is_trait else (),
    )


def _tags(metadata: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the values of each key."""
    found: dict[str, list[str]] = {}

    def add(key: str, value: Any) -> None:
        inside = _inside(value)
        if inside:
            for name, part in inside:
                add(name, part)
            return
        parts = value if isinstance(value, (list, tuple)) else [value]
        for part in parts:
            # one tag may have several values: "surface=grass;sand"
            texts = re.split(r"\s*;\s*", _text(part))
            found.setdefault(_fold(key), []).extend(text for text in texts if text)

    for key, value in metadata.items():
        add(str(key), value)
    return found


def _inside(value: Any) -> list[tuple[str, Any]]:
    """Return the tags that one column holds; none for a plain value."""
    if isinstance(value, Mapping):
        return [(str(name), part) for name, part in value.items()]
    if isinstance(value, (list, tuple)) and value:
        pairs = [_inside(part) for part in value]
        return [pair for part in pairs for pair in part] if all(pairs) else []
    if not isinstance(value, str):
        return []
    if value.lstrip().startswith("{"):
        try:
            told = json.loads(value)
        except json.JSONDecodeError:
            return []
        return _inside(told) if isinstance(told, dict) else []
    parts = [part for part in re.split(r"\s*[;|,\n]\s*", value.strip()) if part]
    pairs_ = [re.fullmatch(r"([\w:.-]+)\s*=\s*(.+)", part) for part in parts]
    return [(m[1], m[2]) for m in pairs_ if m] if parts and all(pairs_) else []


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split())


def _fold(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())
